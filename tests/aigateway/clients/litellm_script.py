"""litellm as a client, run in its own environment: one JSON question per line in, one JSON answer per line out.

A question has ``fields`` (the arguments of ``litellm.completion``); an answer has ``message``, ``finish`` and ``usage``, or
``error`` (the class of the exception) and ``status``.
"""

import json
import sys

import litellm

litellm.suppress_debug_info = True


def answer_to(fields):
    if fields.get("stream"):
        chunks = list(litellm.completion(**fields))
        whole = litellm.stream_chunk_builder(chunks, messages=fields["messages"])
    else:
        whole = litellm.completion(**fields)
    choice = whole.choices[0]
    usage = {"input": whole.usage.prompt_tokens, "output": whole.usage.completion_tokens}
    return {"message": choice.message.model_dump(exclude_none=True), "finish": choice.finish_reason, "usage": usage}


def main():
    out = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        try:
            answer = answer_to(json.loads(line))
        except Exception as error:  # noqa: BLE001 - told to the test, which decides
            answer = {"error": type(error).__name__, "status": getattr(error, "status_code", None), "text": str(error)[:300]}
        print(json.dumps(answer), file=out, flush=True)


main()
