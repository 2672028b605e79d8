// From pixels to tensors, from maps of text to boxes, from probabilities to words.

/** Share of a point's probability, and of a box's mean, above which it is text. */
const POINT = 0.3;
const BOX = 0.6;
/** Smallest side of a box, in points of the map. */
const LEAST = 3;
/** Text was shrunk for the map: a box grows by this part of area over circumference. */
const GROW = 1.6;

/** Connected parts of the map that are text, as boxes in the picture, in reading order. */
export function boxes(map, width, height, scaleX, scaleY) {
    const seen = new Uint8Array(map.length);
    const out = [];
    for (let start = 0; start < map.length; start++) {
        if (seen[start] || map[start] <= POINT) continue;
        let [left, right, top, bottom, sum, points] = [width, 0, height, 0, 0, 0];
        const open = [start];
        seen[start] = 1;
        while (open.length) {
            const at = open.pop();
            const [x, y] = [at % width, Math.floor(at / width)];
            left = Math.min(left, x);
            right = Math.max(right, x);
            top = Math.min(top, y);
            bottom = Math.max(bottom, y);
            sum += map[at];
            points++;
            const near = [x > 0 && at - 1, x + 1 < width && at + 1, y > 0 && at - width, y + 1 < height && at + width];
            for (const next of near) {
                if (next === false || seen[next] || map[next] <= POINT) continue;
                seen[next] = 1;
                open.push(next);
            }
        }
        const [w, h] = [right - left + 1, bottom - top + 1];
        if (Math.min(w, h) < LEAST || sum / points < BOX) continue;
        const grow = (GROW * w * h) / (2 * (w + h));
        const [x0, x1] = [Math.max(0, left - grow), Math.min(width, right + 1 + grow)];
        const [y0, y1] = [Math.max(0, top - grow), Math.min(height, bottom + 1 + grow)];
        out.push({ x: x0 * scaleX, y: y0 * scaleY, width: (x1 - x0) * scaleX, height: (y1 - y0) * scaleY });
    }
    return inOrder(out);
}

/** Rows from top to bottom, each from left to right. A box belongs to a row whose first box covers its middle. */
function inOrder(all) {
    const rows = [];
    for (const box of [...all].sort((a, b) => a.y - b.y)) {
        const middle = box.y + box.height / 2;
        const row = rows.find(([first]) => first.y < middle && middle < first.y + first.height);
        if (row) row.push(box);
        else rows.push([box]);
    }
    return rows.flatMap((row) => row.sort((a, b) => a.x - b.x));
}

/** The best character of every step; repeats and the empty one, which comes first, go. */
export function spell(probabilities, steps, classes, alphabet) {
    let text = "", sum = 0, count = 0, before = 0;
    for (let t = 0; t < steps; t++) {
        let best = 0;
        const row = probabilities.subarray(t * classes, (t + 1) * classes);
        for (let c = 1; c < classes; c++) if (row[c] > row[best]) best = c;
        if (best !== 0 && best !== before) {
            text += alphabet[best];
            sum += row[best];
            count++;
        }
        before = best;
    }
    return { text, score: count ? sum / count : 0 };
}
