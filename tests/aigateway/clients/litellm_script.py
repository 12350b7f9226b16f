"""litellm as a client, run in its own environment: one JSON question per line in, one JSON answer per line out.

A question has ``fields`` (the arguments of ``litellm.completion``); an answer has ``message``, ``finish`` and ``usage``, or
``error`` (the class of the exception) and ``status``.
"""

import gc
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


def told(question):
    try:
        return answer_to(question)
    except Exception as error:  # noqa: BLE001 - told to the test, which decides
        return {"error": type(error).__name__, "status": getattr(error, "status_code", None), "text": str(error)[:300]}


def main():
    out = sys.stdout
    sys.stdout = sys.stderr
    gc.freeze()
    for line in sys.stdin:
        answer = told(json.loads(line))
        if "error" in answer:
            # After an error event litellm leaves the stream unclosed, in a cycle. Should the collector find it just while
            # httpcore holds the lock of its connections, closing it waits for that very lock: for ever.
            gc.collect()
        print(json.dumps(answer), file=out, flush=True)


main()
