"""Makes tiny language models with random weights and what transformers computes with them.

    python make_tiny_llms.py FOLDER [NAME...]

Needs torch, transformers, safetensors. One folder per model_type, and in `odd` one for every unusual configuration below:
config.json, model.safetensors and
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


def rope(kind, **more):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=10000.0, **more))


YARN = rope("yarn", factor=4.0, original_max_position_embeddings=32)
LONG = [1.0, 1.2, 1.5, 2.0, 2.7, 3.1, 4.0, 5.5]

# What checkpoints may say beside the usual: model_type, what differs from the model above.
ODD = {
    "llama-linear": ("llama", rope("linear", factor=4.0)),
    "llama-dynamic": ("llama", rope("dynamic", factor=2.0)),
    "llama-yarn": ("llama", YARN),
    "llama-yarn-mscale": ("llama", rope("yarn", factor=8.0, original_max_position_embeddings=16, beta_fast=16.0,
                                        beta_slow=2.0, attention_factor=0.8)),
    "llama-one-head-of-keys": ("llama", dict(num_key_value_heads=1, head_dim=40, attention_bias=False, mlp_bias=False)),
    "llama-own-heads": ("llama", dict(num_key_value_heads=4, head_dim=8, tie_word_embeddings=True)),
    "llama-three-heads": ("llama", dict(hidden_size=72, num_attention_heads=3, num_key_value_heads=3, vocab_size=259)),
    "llama-gelu": ("llama", dict(hidden_act="gelu_pytorch_tanh", rms_norm_eps=1e-3)),
    "llama-relu": ("llama", dict(hidden_act="relu")),
    "mistral-whole": ("mistral", dict(sliding_window=None, num_key_value_heads=4, tie_word_embeddings=True)),
    "mistral-yarn": ("mistral", dict(YARN, sliding_window=5)),
    "qwen2-tied": ("qwen2", dict(use_sliding_window=False, tie_word_embeddings=True, **YARN)),
    "qwen2-all-windows": ("qwen2", dict(max_window_layers=0, num_key_value_heads=1)),
    "qwen3-bias": ("qwen3", dict(attention_bias=True, tie_word_embeddings=False, num_key_value_heads=1, head_dim=40)),
    "qwen3-windows": ("qwen3", dict(use_sliding_window=True, sliding_window=5, max_window_layers=1)),
    "gemma2-other": ("gemma2", dict(attn_logit_softcapping=None, final_logit_softcapping=None, num_key_value_heads=1)),
    "gemma3-pattern": ("gemma3_text", dict(layer_types=["full_attention", "sliding_attention"] * 2, num_hidden_layers=4,
                                           attn_logit_softcapping=3.0, final_logit_softcapping=4.0)),
    "phi3-long": ("phi3", dict(rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, short_factor=LONG[:6],
                                                    long_factor=LONG[2:], partial_rotary_factor=0.75,
                                                    original_max_position_embeddings=64))),
    "phi3-whole": ("phi3", dict(partial_rotary_factor=1.0, num_key_value_heads=4, sliding_window=9)),
    "smollm3-windows": ("smollm3", dict(no_rope_layer_interval=2, tie_word_embeddings=False)),
    "granite-bias": ("granite", dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    "olmo2-few": ("olmo2", dict(num_key_value_heads=1, tie_word_embeddings=True)),
    "olmoe-norm": ("olmoe", dict(norm_topk_prob=True)),
    "gpt2-inner": ("gpt2", dict(n_inner=96, activation_function="gelu", scale_attn_by_inverse_layer_idx=True)),
    "gpt2-untied": ("gpt2", dict(tie_word_embeddings=False, scale_attn_weights=False)),
    "gpt_neox-serial": ("gpt_neox", dict(use_parallel_residual=False, rotary_pct=1.0, hidden_act="gelu_new")),
    "gpt_neox-tied": ("gpt_neox", dict(tie_word_embeddings=True)),
    "gpt_neo-global": ("gpt_neo", dict(num_layers=2, attention_types=[[["global"], 2]], intermediate_size=96)),
    "mixtral-window": ("mixtral", dict(sliding_window=7, num_experts_per_tok=1)),
    "qwen3_moe-sparse": ("qwen3_moe", dict(norm_topk_prob=False, decoder_sparse_step=2, mlp_only_layers=[])),
    "deepseek_v2-lite": ("deepseek_v2", dict(q_lora_rank=None, topk_method="greedy", n_group=1, topk_group=1)),
    "deepseek_v3-yarn": ("deepseek_v3", dict(rope("yarn", factor=4.0, original_max_position_embeddings=32, mscale=1.0,
                                                  mscale_all_dim=1.0), norm_topk_prob=False)),
    "mamba-bias": ("mamba", dict(use_bias=True, use_conv_bias=False, expand=3, conv_kernel=3)),
    "mamba2-tied": ("mamba2", dict(tie_word_embeddings=True, n_groups=1, use_bias=True)),
}


def make(folder: Path, name: str) -> None:
    kind, more = ODD.get(name, (name, {}))
    torch.manual_seed(sum(map(ord, name)))
    config = AutoConfig.for_model(kind, **(MODELS[kind] | more))
    config.dtype = "float32"
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        # Weights as they are initialised leave layers close to the identity: larger ones show every mistake.
        for part, p in model.named_parameters():
            if p.ndim >= 2 and "A_log" not in part:
                p.mul_(5.0 if "conv1d" not in part else 2.0)
            elif "norm" in part or "bias" in part or "ln_" in part:
                p.add_(0.3 * torch.randn_like(p))
        for part, b in model.named_buffers():
            if "e_score_correction_bias" in part:
                b.add_(0.2 * torch.randn_like(b))
    ids = torch.randint(3, 256, (1, 24))
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits.float()
        greedy = ids
        for _ in range(8):
            greedy = torch.cat([greedy, model(greedy, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    out = folder / "odd" / name if name in ODD else folder / name
    model.save_pretrained(out)
    save_file({"input_ids": ids, "logits": logits.contiguous(), "greedy_ids": greedy}, out / "expected.safetensors")
    print(f"{name}: largest logit {logits.abs().max():.3f}")


def main() -> None:
    folder = Path(sys.argv[1])
    failed = []
    for name in sys.argv[2:] or [*MODELS, *ODD]:
        try:
            make(folder, name)
        except Exception as e:  # The others are made all the same.
            failed.append(name)
            print(f"{name}: {type(e).__name__}: {e}")
    sys.exit(f"not made: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
