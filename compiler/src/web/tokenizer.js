// Byte pair encoding as `tokenizer.json` describes it: with byte fallback (Llama) or over bytes (GPT-2 and later).

/** What a tokenizer file asks for and this module does not do. */
export class TokenizerError extends Error {}

const refuse = (what, kind) => {
    throw new TokenizerError(`tokenizer: ${what} ${kind} is not supported`);
};
const sequence = (v, key) => (v == null ? [] : v.type === "Sequence" ? v[key].flatMap((s) => sequence(s, key)) : [v]);

/** The characters that stand for bytes: printable ones for themselves, the others from 256 on. */
const BYTES = (() => {
    const chars = [];
    let next = 256;
    for (let b = 0; b < 256; b++) {
        const own = (b > 32 && b < 127) || (b > 160 && b !== 173);
        chars.push(String.fromCodePoint(own ? b : next++));
    }
    return chars;
})();
const BYTE_OF = new Map(BYTES.map((c, b) => [c, b]));
const GPT2 = "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/**
 * A pattern in the syntax of tokenizer files as one of JavaScript. Groups that ignore case are spelled out. Possessive
 * quantifiers become greedy ones: in published patterns what follows them begins with other characters.
 */
function pattern(text) {
    const spelled = text.replace(/\(\?i:([^()]*)\)/g, (_, group) =>
        `(?:${group.replace(/[a-z]/gi, (c) => `[${c.toLowerCase()}${c.toUpperCase()}]`)})`);
    const possessive = /\\.|\[(?:\\.|[^\]])*\]|([?*+]|\{\d+,?\d*\})\+/g;
    try {
        return new RegExp(spelled.replace(possessive, (all, greedy) => greedy ?? all), "gu");
    } catch (e) {
        return refuse("pattern", text);
    }
}

/** Cuts a text at matches, which are pieces of their own, as is what lies between them. */
function isolate(text, regex) {
    const out = [];
    let at = 0;
    for (const { 0: match, index } of text.matchAll(regex)) {
        if (index > at) out.push(text.slice(at, index));
        if (match) out.push(match);
        at = index + match.length;
    }
    if (at < text.length) out.push(text.slice(at));
    return out;
}

const escape = (text) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");

function normalizer(v) {
    switch (v.type) {
        case "Prepend": return (s) => (s ? v.prepend + s : s);
        case "Replace":
            if (v.pattern.String === undefined) refuse("replacing", JSON.stringify(v.pattern));
            return (s) => s.replaceAll(v.pattern.String, v.content);
        case "NFC": case "NFD": case "NFKC": case "NFKD": return (s) => s.normalize(v.type);
        default: return refuse("normalizer", v.type);
    }
}

const toBytes = (s) => Array.from(new TextEncoder().encode(s), (b) => BYTES[b]).join("");

/** A step from pieces of text to smaller ones. */
function splitter(v) {
    switch (v.type) {
        case "ByteLevel": {
            const cut = v.use_regex === false ? (s) => [s] : (s) => isolate(s, pattern(GPT2));
            const front = (s) => (v.add_prefix_space && !/^\s/.test(s) ? " " + s : s);
            return (s) => cut(front(s)).map(toBytes);
        }
        case "Digits": return (s) => isolate(s, v.individual_digits ? /\p{N}/gu : /\p{N}+/gu);
        case "Split": {
            if (v.behavior !== "Isolated" || v.invert) refuse("split", `${v.behavior}${v.invert ? ", inverted" : ""}`);
            const regex = pattern(v.pattern.Regex ?? escape(v.pattern.String));
            return (s) => isolate(s, regex);
        }
        default: return refuse("pre-tokenizer", v.type);
    }
}

/** Tokens in front of a text; those behind it are refused, because the model is to go on with the text. */
function prefix(v) {
    const out = [];
    for (const step of sequence(v, "processors")) {
        if (step.type === "ByteLevel") continue;
        if (step.type !== "TemplateProcessing") refuse("post-processor", step.type);
        const text = step.single.findIndex((p) => p.Sequence);
        if (text !== step.single.length - 1) refuse("template", "with tokens behind the text");
        for (const p of step.single.slice(0, text)) out.push(...step.special_tokens[p.SpecialToken.id].ids);
    }
    return out;
}

/** From text to tokens and back. */
export class Tokenizer {
    /** Takes a parsed `tokenizer.json`. */
    constructor(json) {
        const { model } = json;
        if (model.type !== "BPE" && !(model.type === undefined && model.merges)) refuse("model", model.type);
        if (model.continuing_subword_prefix || model.end_of_word_suffix) refuse("model", "with marks of word ends");
        this.vocab = new Map(Object.entries(model.vocab));
        this.byteFallback = model.byte_fallback === true;
        this.ignoreMerges = model.ignore_merges === true;
        this.unknown = this.vocab.get(model.unk_token);
        this.ranks = new Map(model.merges.map((m, i) => [typeof m === "string" ? m : m.join(" "), i]));
        this.normalizers = sequence(json.normalizer, "normalizers").map(normalizer);
        this.splitters = sequence(json.pre_tokenizer, "pretokenizers").map(splitter);
        this.prefix = prefix(json.post_processor);
        this.added = new Map((json.added_tokens ?? []).map((t) => [t.content, t.id]));
        this.special = new Set((json.added_tokens ?? []).filter((t) => t.special).map((t) => t.id));
        const longest = [...this.added.keys()].sort((a, b) => b.length - a.length).map(escape);
        this.addedPattern = longest.length ? new RegExp(longest.join("|"), "gu") : null;
        this.words = new Map();
        this.contents = [];
        for (const [text, id] of [...this.vocab, ...this.added]) this.contents[id] = text;
        this.steps = sequence(json.decoder, "decoders");
        this.bytes = this.contents.map((text, id) => this.decode(text, id));
    }

    /** Tokens of a text, with those that every text begins with. */
    encode(text, { begin = true } = {}) {
        const out = begin ? [...this.prefix] : [];
        for (const part of this.addedPattern ? isolate(text, this.addedPattern) : [text]) {
            const added = this.added.get(part);
            if (added !== undefined) out.push(added);
            else if (part) out.push(...this.plain(part));
        }
        return out;
    }
    plain(text) {
        let pieces = [this.normalizers.reduce((s, f) => f(s), text)];
        for (const split of this.splitters) pieces = pieces.flatMap(split);
        return pieces.flatMap((p) => this.word(p));
    }
    /** Joins the pair that was learned first, the leftmost of equals, until no pair is known. */
    word(text) {
        const known = this.words.get(text);
        if (known) return known;
        if (this.ignoreMerges && this.vocab.has(text)) return [this.vocab.get(text)];
        const parts = Array.from(text);
        for (;;) {
            let best = Infinity, at = -1;
            for (let i = 0; i + 1 < parts.length; i++) {
                const rank = this.ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
                if (rank < best) [best, at] = [rank, i];
            }
            if (at < 0) break;
            parts.splice(at, 2, parts[at] + parts[at + 1]);
        }
        const ids = parts.flatMap((p) => this.vocab.get(p) ?? this.fallback(p));
        if (text.length < 64 && this.words.size < 10000) this.words.set(text, ids);
        return ids;
    }
    fallback(part) {
        if (this.byteFallback) {
            const name = (b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`;
            const ids = Array.from(new TextEncoder().encode(part), (b) => this.vocab.get(name(b)));
            if (!ids.includes(undefined)) return ids;
        }
        return this.unknown === undefined ? [] : [this.unknown];
    }
    /** Bytes of a token inside a text; special tokens have none. */
    decode(text, id) {
        if (this.special.has(id)) return new Uint8Array();
        let fused = false;
        for (const step of this.added.has(text) ? [] : this.steps) {
            if (step.type === "Fuse") fused = true;
            else if (step.type === "ByteLevel") return Uint8Array.from(Array.from(text), (c) => BYTE_OF.get(c) ?? 63);
            else if (step.type === "Replace") text = text.replaceAll(step.pattern.String, step.content);
            else if (step.type === "Metaspace") text = text.replaceAll(step.replacement, " ");
            else if (step.type === "ByteFallback") {
                const byte = /^<0x([0-9A-F]{2})>$/.exec(text);
                if (byte) return Uint8Array.of(parseInt(byte[1], 16));
            } else if (!(step.type === "Strip" && fused)) refuse("decoder", step.type);
        }
        return new TextEncoder().encode(text);
    }
}
