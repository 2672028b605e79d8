// A language model that goes on with a text.
import { breathe, bundle, serve } from "./worker.js";

/** Longest time between two looks at the messages. */
const PATIENCE = 12;

serve(async () => {
    const { loaded, code, weights } = await bundle("story", "story.language");
    const session = loaded.session();
    async function* run({ prompt, temperature, seed }, stopped) {
        session.clear();
        let text = "", tokens = 0, told = performance.now();
        for (const piece of session.generate(prompt, { temperature, seed, topP: 0.95 })) {
            text += piece.text;
            tokens++;
            if (performance.now() - told < PATIENCE && tokens > 1) continue;
            yield { text, tokens };
            text = "";
            await breathe();
            if (stopped()) return;
            told = performance.now();
        }
        yield { text, tokens };
    }
    return { run, code, weights, model: "stories260K, Llama architecture" };
});
