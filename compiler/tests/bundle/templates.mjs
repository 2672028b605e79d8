// node templates.mjs TEMPLATE.js CASES NOW: chat templates against what the transformers library makes of them. Prints how
// many there are, and how many of them refuse their messages.
import { readFileSync } from "node:fs";

const [script, file, now] = process.argv.slice(2);
const { ChatTemplate } = await import(script);
const cases = JSON.parse(readFileSync(file));
let refused = 0;
for (const c of cases) {
    let got;
    try {
        const options = { ...c.variables, addGenerationPrompt: c.add_generation_prompt, now: new Date(1000 * Number(now)) };
        got = new ChatTemplate(c.source).render(c.messages, options);
    } catch (e) {
        if (!c.error || !e.message.endsWith(c.error)) throw e;
        refused++;
        continue;
    }
    if (got !== c.text) throw new Error(`${c.name}: ${JSON.stringify(got)} instead of ${JSON.stringify(c.text)}`);
}
console.log(cases.length, refused);
