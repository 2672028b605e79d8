"""Makes the expectations of runtime/llm's tests: what the Python packages tokenizers, sentencepiece, regex and
transformers give for the texts below, which were written for this purpose.

    python language.py SHARED_MODELS_FOLDER

needs: tokenizers gguf sentencepiece transformers regex jinja2. Writes testdata/llm/*.json.
"""

import json
import pathlib
import sys

import gguf
import sentencepiece
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

OUT = pathlib.Path(__file__).parent.parent / "llm"
MODELS = pathlib.Path(sys.argv[1])

TEXTS = [
    "",
    " ",
    "   three spaces, then a word",
    "Once upon a time, there was a little girl named Lily.",
    "The capital of France is",
    "In 1969 it cost 12,345.67 dollars; 3rd of May 2026.",
    "It's what they'll say: we've been, I'm sure, HE'D GO.",
    "tabs\tand\nnew lines\r\n\n\nand  double   spaces \n",
    "fn main() { println!(\"{:?}\", vec![1u8; 3]); } // a comment_with_underscores",
    "Grüße aus Köln, naïve façade, Ελληνικά, Привет, мир!",
    "日本語のテキストです。中文也可以。한국어도 됩니다.",
    "مرحبا بالعالم और नमस्ते दुनिया",
    "emoji 😀 👩‍👩‍👧‍👦 🇩🇪 and e\u0301 (combining), ﬁ ligature, Ⅷ, ½",
    "zero\u200bwidth, no-break\u00a0space, \ufeffmark, \u0000 null",
    "<s> and </s> and <unk> are marks, <|im_start|>user\nso is this<|im_end|>",
    "\u10ffff \U0001F600\U000E0041\U000F0000\U0010FFFD",
]


def cases(tok, special):
    out = []
    for t in TEXTS:
        plain = tok.encode(t, add_special_tokens=False).ids
        whole = tok.encode(t, add_special_tokens=True).ids if special else plain
        out.append({"text": t, "ids": plain, "whole": whole, "decoded": tok.decode(whole, skip_special_tokens=True)})
    return out


def write(name, value):
    (OUT / name).write_text(json.dumps(value, ensure_ascii=True, indent=0).replace(",\n", ", ").replace("[\n", "[").replace("\n]", "]") + "\n")


def stories():
    tok = tokenizers.Tokenizer.from_file(str(MODELS / "stories260k-hf/tokenizer.json"))
    write("stories260k.json", cases(tok, True))


def smollm2():
    """The vocabulary of the file; digits by themselves and GPT-2's words, as SmolLM's own tokenizer has it."""
    (path,) = (MODELS / "smollm2-135m").glob("*.gguf")
    fields = {k: f for k, f in gguf.GGUFReader(path).fields.items() if k.startswith("tokenizer.")}
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    kinds = fields["tokenizer.ggml.token_type"].contents()
    tok = tokenizers.Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([tokenizers.AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, kinds) if k == 3])
    write("smollm2.json", cases(tok, False))


def spm():
    """A small vocabulary of the kind that llama models have, and what sentencepiece makes of the texts with it."""
    words = [w for t in TEXTS[3:10] for w in t.split()]
    corpus = TEXTS[3:10] + [" ".join(words[i:] + words[:i]) for i in range(0, len(words), 3)]
    prefix = "/tmp/sinter-spm"
    pathlib.Path(prefix + ".txt").write_text("\n".join(t.replace("\n", " ") for t in corpus))
    sentencepiece.SentencePieceTrainer.train(
        input=prefix + ".txt", model_prefix=prefix, vocab_size=560, model_type="bpe", byte_fallback=True,
        character_coverage=0.99, normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=True, hard_vocab_limit=False, minloglevel=2,
    )
    sp = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
    n = sp.get_piece_size()
    kind = lambda i: 2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1
    # A text with a null byte or a mark in it means something else to sentencepiece.
    texts = [t for t in TEXTS if "\0" not in t and "<s>" not in t]
    write("spm.json", {
        "tokens": [sp.id_to_piece(i) for i in range(n)],
        "scores": [sp.get_score(i) for i in range(n)],
        "kinds": [kind(i) for i in range(n)],
        "cases": [{"text": t, "ids": sp.encode(t), "decoded": sp.decode(sp.encode(t))} for t in texts],
    })


# What templates of checkpoints do, each feature at least once.
TEMPLATES = {
    "marks": """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}""",
    "alternating": """{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set system = messages[0].content | trim %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set system = '' %}
    {%- set rest = messages %}
{%- endif %}
{%- for message in rest %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate user/assistant') }}
    {%- endif %}
    {%- if message.role == 'user' %}
        {{- '[INST] ' ~ (system ~ '\n\n' if loop.first and system else '') ~ message.content.strip() ~ ' [/INST]' }}
    {%- else %}
        {{- ' ' ~ message.content ~ eos_token }}
    {%- endif %}
{%- endfor %}
""",
    "thinking": """{%- set ns = namespace(last=-1, seen=[]) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.last < 0 and message.role == "user" and not(message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
last {{ ns.last }}
{% for m in messages %}
    {%- set content = m.content %}
    {%- if m.role == 'assistant' and '</think>' in content %}
        {%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- if loop.index0 > ns.last %}<think>{{ thought }}</think>{% endif %}
    {%- endif %}
    {{- m.role|upper }}: {{ content|trim }}
{% endfor %}
{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}""",
    "tools": """{% macro show(t, depth=1) %}
{{ '  ' * depth }}{{ t.name }}: {{ t | tojson(indent=2) }}
{% endmacro %}
{% if tools is not none %}{% for t in tools %}{{ show(t) }}{{ t.parameters | tojson }}
{% for k, v in t.parameters.items() %}{{ k }}={{ v }}{% if not loop.last %},{% endif %}{% endfor %}{% endfor %}{% endif %}
{{ [true, none, 1, 2.5, "it's", {'a': [1]}] }} {{ true }} {{ none }} {{ missing }}
{%- for m in messages if m.role != 'system' %}
{%- if loop.index > 2 %}{% break %}{% endif %}
{%- if m.role is string and m.content is not mapping %}{{ m.role.title() }}{{ loop.previtem.role if loop.previtem is defined }}{% endif %}
{%- endfor %}
{{ messages | map(attribute='role') | unique | list | join('+') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{ messages | tojson }} {{ 'é<>&' | tojson }} {{ 'é😀' | tojson(ensure_ascii=true) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}""",
    "dated": """Today is {{ strftime_now('%d %b %Y') }}.{% generation %} {{ messages[-1]['content'] }}{% endgeneration %}
{% set d = dict(a=1, b='x') %}{{ d.get('a') }}{{ d.get('c', 'none') }}{{ d['b'] }}{{ 'yes' if 'a' in d else 'no' }}
{{ messages[0].get('name', 'nobody') }} {{ 'a,b,,c'.split(',') }} {{ '  x '.strip() }}| {{ 'x'.replace('x', 'y') }} {{ 'aXb'.lower() }}
{% filter upper %}loud{% endfilter %} {{ 7 // 2 }} {{ 7 / 2 }} {{ 2 ** 3 }} {{ -7 % 3 }} {{ 'abc'[1:] }} {{ 'abc'[-1] }} {{ '%s-%d' | format('a', 3) }} {{ 'x' ~ 1 ~ none }}""",
}

CHATS = [
    [("user", "  Hello there!  ")],
    [("system", "Answer <b>briefly</b>."), ("user", "What is \"1 + 1\"?"), ("assistant", "<think>\none and one\n</think>\n\nTwo."), ("user", "Grüße 😀\nbye")],
    [("user", "a"), ("user", "b")],
]

TOOLS = [{"name": "add", "parameters": {"x": "int", "y": ["int", None, True, 1.5]}}]


def templates():
    import datetime
    import jinja2
    from transformers.utils import chat_template_utils as utils

    class Day(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 11, 21, 12, 0, 0)

    utils.datetime = Day
    out = []
    for name, source in TEMPLATES.items():
        compiled = utils._compile_jinja_template(source)
        for i, chat in enumerate(CHATS):
            messages = [{"content": c, "role": r} for r, c in chat]
            variables = {"bos_token": "<s>", "eos_token": "</s>"}
            if name == "tools":
                variables["tools"] = TOOLS
            if i == 1:
                variables["enable_thinking"] = False
            try:
                result = {"text": compiled.render(messages=messages, add_generation_prompt=i != 1, **({"tools": None, "documents": None} | variables))}
            except jinja2.exceptions.TemplateError as e:
                result = {"error": str(e)}
            out.append({"name": name, "source": source, "messages": messages, "variables": variables, "add_generation_prompt": i != 1, **result})
    write("templates.json", out)


if __name__ == "__main__":
    templates()
    stories()
    smollm2()
    spm()
