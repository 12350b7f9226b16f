"""Writes a tiny Llama of random weights with a byte tokenizer as a GGUF file named on the command line.

Runs in the environment of the llama.cpp server, not in the project's own.
"""

from __future__ import annotations

import sys

import gguf
import numpy

WIDTH, FEED_FORWARD, HEADS, KV_HEADS, LAYERS, CONTEXT = 64, 128, 4, 2, 2, 1024
SPECIAL = ("<unk>", "<s>", "</s>")
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "


def main(path: str) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    kind = gguf.TokenType
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([kind.UNKNOWN, kind.CONTROL, kind.CONTROL, *([kind.BYTE] * 256)])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    dice = numpy.random.default_rng(7)

    def tensor(name: str, *shape: int) -> None:
        values = numpy.ones(shape) if len(shape) == 1 else dice.normal(0, 0.2, shape)
        writer.add_tensor(name, values.astype(numpy.float32))

    tensor("token_embd.weight", len(tokens), WIDTH)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        tensor(f"{block}.attn_norm.weight", WIDTH)
        tensor(f"{block}.attn_q.weight", WIDTH, WIDTH)
        tensor(f"{block}.attn_k.weight", WIDTH * KV_HEADS // HEADS, WIDTH)
        tensor(f"{block}.attn_v.weight", WIDTH * KV_HEADS // HEADS, WIDTH)
        tensor(f"{block}.attn_output.weight", WIDTH, WIDTH)
        tensor(f"{block}.ffn_norm.weight", WIDTH)
        tensor(f"{block}.ffn_gate.weight", FEED_FORWARD, WIDTH)
        tensor(f"{block}.ffn_up.weight", FEED_FORWARD, WIDTH)
        tensor(f"{block}.ffn_down.weight", WIDTH, FEED_FORWARD)
    tensor("output_norm.weight", WIDTH)
    tensor("output.weight", len(tokens), WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
