"""Makes tiny language models with random weights and what transformers computes with them.

    python make_tiny_llms.py FOLDER [TYPE...]

Needs torch, transformers, safetensors. One folder per model_type: config.json, model.safetensors and
expected.safetensors with input_ids [1, 24], logits [1, 24, vocabulary] and greedy_ids [1, 32], which begin with the
input. `cargo test -p sinter --test language` reads the folder that TINY_LLMS names.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

COMMON = dict(vocab_size=256, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0)
EXPERTS = dict(num_experts=8, num_experts_per_tok=3, moe_intermediate_size=48)
LATENT = dict(q_lora_rank=24, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=12,
              num_key_value_heads=4, n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=48,
              n_shared_experts=1, first_k_dense_replace=1, n_group=4, topk_group=2)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
GPT = dict(vocab_size=256, bos_token_id=1, eos_token_id=2)

MODELS = {
    "llama": dict(COMMON, rope_parameters=LLAMA3, attention_bias=True, mlp_bias=True),
    "mistral": dict(COMMON, sliding_window=7, head_dim=24),
    "qwen2": dict(COMMON, use_sliding_window=True, sliding_window=6, max_window_layers=1),
    "qwen3": dict(COMMON, head_dim=24, tie_word_embeddings=True),
    "gemma2": dict(COMMON, head_dim=24, sliding_window=7, query_pre_attn_scalar=20, num_hidden_layers=3,
                   attn_logit_softcapping=2.0, final_logit_softcapping=5.0),
    "gemma3_text": dict(COMMON, head_dim=24, sliding_window=7, query_pre_attn_scalar=20, num_hidden_layers=7),
    "phi3": dict(COMMON, sliding_window=None, partial_rotary_factor=0.75),
    "smollm3": dict(COMMON, num_hidden_layers=5),
    "granite": dict(COMMON, attention_multiplier=0.2, embedding_multiplier=3.0, residual_multiplier=0.5,
                    logits_scaling=2.0),
    "olmo2": dict(COMMON),
    "olmoe": dict(COMMON, num_experts=8, num_experts_per_tok=3),
    "gpt2": dict(GPT, n_embd=64, n_layer=2, n_head=4, n_positions=128),
    "gpt_neox": dict(GPT, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
                     max_position_embeddings=128),
    "gpt_neo": dict(GPT, hidden_size=64, num_layers=4, num_heads=4, max_position_embeddings=128, window_size=6,
                    attention_types=[[["global", "local"], 2]]),
    "mixtral": dict(COMMON, num_local_experts=4, num_experts_per_tok=2, sliding_window=None),
    "qwen3_moe": dict(COMMON, **EXPERTS, num_hidden_layers=3, mlp_only_layers=[1], norm_topk_prob=True, head_dim=24),
    "deepseek_v2": dict(COMMON, **{**LATENT, "topk_method": "group_limited_greedy", "routed_scaling_factor": 2.0}),
    "deepseek_v3": dict(COMMON, **LATENT),
    "mamba": dict(GPT, hidden_size=64, num_hidden_layers=2, state_size=16),
    "falcon_mamba": dict(GPT, hidden_size=64, num_hidden_layers=2, state_size=16),
    "mamba2": dict(GPT, hidden_size=64, num_hidden_layers=2, state_size=16, num_heads=8, head_dim=16, n_groups=2,
                   expand=2, chunk_size=8),
}


def make(folder: Path, kind: str) -> None:
    torch.manual_seed(sum(map(ord, kind)))
    config = AutoConfig.for_model(kind, **MODELS[kind])
    config.dtype = "float32"
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        # Weights as they are initialised leave layers close to the identity: larger ones show every mistake.
        for name, p in model.named_parameters():
            if p.ndim >= 2 and "A_log" not in name:
                p.mul_(5.0 if "conv1d" not in name else 2.0)
            elif "norm" in name or "bias" in name or "ln_" in name:
                p.add_(0.3 * torch.randn_like(p))
        for name, b in model.named_buffers():
            if "e_score_correction_bias" in name:
                b.add_(0.2 * torch.randn_like(b))
    ids = torch.randint(3, 256, (1, 24))
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits.float()
        greedy = ids
        for _ in range(8):
            greedy = torch.cat([greedy, model(greedy, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    out = folder / kind
    model.save_pretrained(out)
    save_file({"input_ids": ids, "logits": logits.contiguous(), "greedy_ids": greedy}, out / "expected.safetensors")
    print(f"{kind}: largest logit {logits.abs().max():.3f}")


def main() -> None:
    folder = Path(sys.argv[1])
    failed = []
    for kind in sys.argv[2:] or MODELS:
        try:
            make(folder, kind)
        except Exception as e:  # The others are made all the same.
            failed.append(kind)
            print(f"{kind}: {type(e).__name__}: {e}")
    sys.exit(f"not made: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
