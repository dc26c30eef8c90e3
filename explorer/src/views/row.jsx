// One row: logits that can be dragged or typed -> exponentials, probabilities, loss and gradient.
import { codes } from "../code.js";
import { Arrows, Bars, color, DragBars } from "../columns.jsx";
import { Announcement, Cards, Choice, Code, NumberField, Slider, Switch } from "../controls.jsx";
import { text } from "../format.js";
import { explain, sum } from "../math.js";
import { Sigmoid } from "../sigmoid.jsx";
import { MOST_CLASSES } from "../state.js";

/** @typedef {import("../state.js").RowState} RowState */

/** @param {number} x */
const positive = (x) => Number.isFinite(x) && x > 0;
/** @param {number} x */
const amount = (x) => Number.isFinite(x) && x >= 0;

/**
 * The same list with one value replaced.
 * @param {number[]} values @param {number} k @param {number} x
 */
const replaced = (values, k, x) => values.map((old, j) => (j === k ? x : old));

/**
 * @param {{ row: RowState, change: (part: Partial<RowState>) => void }} props
 */
export function RowView({ row, change }) {
  const found = explain(row);
  const { logits, target } = row;
  const size = logits.length;
  const said = row.dense
    ? `Loss ${text(found.loss, 4)} nats.`
    : `Loss ${text(found.loss, 4)} nats; class ${target} has probability ${text(found.p[target], 3)}.`;
  return (
    <>
      <p>
        A classifier gives each class a number, its <em>logit</em>. Softmax turns logits into probabilities, and
        cross-entropy measures how much probability the right class got. Drag a bar, or type a number.
      </p>
      <div class="line">
        <button type="button" disabled={size >= MOST_CLASSES} onClick={() => change(resized(row, size + 1))}>
          Add a class
        </button>
        <button type="button" disabled={size <= 1} onClick={() => change(resized(row, size - 1))}>
          Remove the last class
        </button>
      </div>
      <Cards label="Results" cards={[
        ["Loss", `${text(found.loss)}`, `nats; equal logits would cost ${text(found.mass * Math.log(size), 4)}`],
        row.dense
          ? ["Sum of the target", text(found.mass), "the mass: 1 for a distribution"]
          : [`Probability of class ${target}`, text(found.p[target]), "the target"],
        ["Prediction", `class ${found.top}`, `with probability ${text(found.p[found.top], 4)}`],
        ["Entropy", text(found.entropy), `nats; at most log ${size} = ${text(Math.log(size), 4)}`],
      ]} />
      <Announcement text={said} />
      <div class="pictures">
        <DragBars title="Logits" note="drag the bars" values={logits}
          change={(k, x) => change({ logits: replaced(logits, k, x) })} />
        <Bars title="Exponentials" note="of z - peak" values={found.exp} most={1} />
        <Bars title="Probabilities" note="line: t" values={found.p} marks={found.t}
          most={Math.max(1, ...found.t)} />
        <Arrows title="Step downhill" gradient={found.grad} />
        {size === 2 && <Sigmoid z={found.z} p={found.p} />}
      </div>
      <div class="beside-each-other">
        <Table row={row} found={found} change={change} />
        <Options row={row} change={change} />
      </div>
      <Code codes={codes(row)} />
    </>
  );
}

/**
 * @param {{ row: RowState, found: ReturnType<typeof explain>, change: (part: Partial<RowState>) => void }} props
 */
function Table({ row, found, change }) {
  const { logits, dense, weights } = row;
  return (
    <div class="scroll" tabindex={0} role="region" aria-label="The numbers of each class">
      <table>
        <thead>
          <tr>
            <th scope="col">class</th>
            <th scope="col">{dense ? "target q" : "target"}</th>
            <th scope="col">logit</th>
            {weights && <th scope="col">weight</th>}
            <th scope="col" class="n">exp(z - peak)</th>
            <th scope="col" class="n">probability p</th>
            <th scope="col" class="n">t</th>
            <th scope="col" class="n">gradient</th>
          </tr>
        </thead>
        <tbody>
          {logits.map((x, k) => (
            <tr key={k}>
              <th scope="row"><span class="dot" style={{ background: color(k) }} /> {k}</th>
              <td>
                {dense ? (
                  <NumberField label={`target of class ${k}`} hidden value={dense[k]} allowed={amount}
                    rule="0 or more" change={(q) => change({ dense: replaced(dense, k, q) })} />
                ) : (
                  <input type="radio" name="target" aria-label={`class ${k} is the target`} checked={row.target === k}
                    onChange={() => change({ target: k })} />
                )}
              </td>
              <td>
                <NumberField label={`logit of class ${k}`} hidden value={x} allowed={(z) => !Number.isNaN(z)}
                  rule="a number, inf or -inf" change={(z) => change({ logits: replaced(logits, k, z) })} />
              </td>
              {weights && (
                <td>
                  <NumberField label={`weight of class ${k}`} hidden value={weights[k]} allowed={amount}
                    rule="0 or more" change={(w) => change({ weights: replaced(weights, k, w) })} />
                </td>
              )}
              <td class="n">{text(found.exp[k])}</td>
              <td class="n">{text(found.p[k])}</td>
              <td class="n">{text(found.t[k])}</td>
              <td class="n">{text(found.grad[k])}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="note">
        peak = {text(found.peak)}, rest = {text(found.rest)}: the exponentials beside the peak's own. Loss = sum of
        t (peak - z) + sum of t · log(1 + rest) = {text(found.gap)} + {text(found.mass)} · {text(Math.log1p(found.rest))}{" "}
        = {text(found.loss)}. Gradient = (sum of t) p - t
        {plainly(row)}.
      </p>
    </div>
  );
}

/** @param {RowState} row */
function plainly({ temperature, softcap }) {
  const parts = [];
  if (softcap !== null) parts.push("times the slope of the softcap");
  if (temperature !== 1) parts.push(`divided by the temperature ${text(temperature)}`);
  return parts.length ? `, ${parts.join(", ")}` : "";
}

/**
 * @param {{ row: RowState, change: (part: Partial<RowState>) => void }} props
 */
function Options({ row, change }) {
  const size = row.logits.length;
  const total = row.dense ? sum(row.dense) : 1;
  return (
    <section aria-labelledby="options" class="options">
      <h3 id="options">Options</h3>
      <Slider label="Temperature" value={row.temperature} min={0.1} max={10} log allowed={positive}
        rule="a number above 0" change={(temperature) => change({ temperature })} />
      <Slider label="Label smoothing" value={row.smoothing} min={0} max={1} allowed={(x) => x >= 0 && x <= 1}
        rule="0 to 1" change={(smoothing) => change({ smoothing })} />
      <span class="line">
        <Switch label="Softcap" value={row.softcap !== null} change={(on) => change({ softcap: on ? 5 : null })} />
        {row.softcap !== null && (
          <NumberField label="softcap" hidden value={row.softcap} allowed={positive} rule="a number above 0"
            change={(softcap) => change({ softcap })} />
        )}
      </span>
      <Switch label="Class weights" value={row.weights !== null}
        change={(on) => change({ weights: on ? row.logits.map(() => 1) : null })} />
      <Choice label="Target" value={row.dense ? "dense" : "index"}
        options={[["index", "one class"], ["dense", "a distribution"]]}
        change={(kind) => change({
          dense: kind === "dense" ? row.logits.map((_, k) => (k === row.target ? 0.8 : 0.2 / Math.max(1, size - 1))) : null,
        })} />
      {Math.abs(total - 1) > 1e-6 && <p class="warning">The target adds up to {text(total)}, a distribution to 1.</p>}
    </section>
  );
}

/**
 * The row with more classes, or fewer.
 * @param {RowState} row
 * @param {number} size
 * @returns {Partial<RowState>}
 */
function resized(row, size) {
  const fit = (/** @type {number[]} */ values, /** @type {number} */ filler) =>
    Array.from({ length: size }, (_, k) => values[k] ?? filler);
  return {
    logits: fit(row.logits, 0),
    target: Math.min(row.target, size - 1),
    dense: row.dense && fit(row.dense, 0),
    weights: row.weights && fit(row.weights, 1),
  };
}
