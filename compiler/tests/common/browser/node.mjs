// Runs bundles in this process: answers a case and its inputs with what they give.
import { receive, send } from "./pipe.mjs";
import { run } from "./case.mjs";

for (let request = receive(); request; request = receive()) {
    const { head, data } = await run(JSON.parse(request), () => receive().buffer);
    send(Buffer.from(JSON.stringify(head)));
    for (const { buffer } of data) send(Buffer.from(buffer));
}
