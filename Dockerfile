# One image for every service: web, worker, beat, and the one-shot set-up.
FROM python:3.11-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

FROM base AS packages
COPY requirements.lock /tmp/requirements.lock
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --require-hashes --no-deps --only-binary :all: -r /tmp/requirements.lock

FROM base
RUN groupadd --system --gid 10001 gateway && useradd --system --uid 10001 --gid gateway --home-dir /srv/gateway gateway
WORKDIR /srv/gateway
COPY --from=packages /opt/venv /opt/venv
COPY manage.py pyproject.toml LICENSE ./
COPY aigateway aigateway
COPY providers providers
COPY usage usage
COPY preferences preferences
COPY templates templates
ENV PATH=/opt/venv/bin:$PATH \
    HOST=0.0.0.0 \
    PORT=8000 \
    AIGATEWAY_VAR=/var/lib/gateway \
    AIGATEWAY_STATIC_ROOT=/srv/gateway/static
# The secret key of this step signs nothing: it is gone with the step.
RUN install -d -o gateway -g gateway -m 700 /var/lib/gateway /var/lib/gateway/exports \
    && AIGATEWAY_VAR=/tmp/build AIGATEWAY_SECRET_KEY=collecting-static-files-needs-no-secret python manage.py collectstatic --no-input -v 0 \
    && rm -rf /tmp/build
USER gateway
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=10m --retries=3 CMD ["python", "-m", "aigateway.process.probe"]
CMD ["python", "manage.py", "run", "--web-only"]
