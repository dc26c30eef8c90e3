// Numbers: one row -> the textbook formula in float32 beside the stable one, step by step.
import { useState } from "preact/hooks";
import { Chart } from "../chart.jsx";
import { numbersCodes } from "../code_numbers.js";
import { color } from "../columns.jsx";
import { Announcement, Cards, Code, NumberField, Slider } from "../controls.jsx";
import { descend, trouble } from "../descent.js";
import { text } from "../format.js";
import { explain } from "../math.js";
import { naive } from "../naive.js";

/** @type {[string, number[], number][]} */
const EXAMPLES = [
  ["nothing goes wrong: 0.1, 0.9, 4", [0.1, 0.9, 4], 2],
  ["overflow: 0, 89", [0, 89], 1],
  ["overflow: 1000, 1001, 1002", [1000, 1001, 1002], 2],
  ["a loss of exactly 0: 0, 20", [0, 20], 1],
  ["few digits left: 0, 14", [0, 14], 1],
  ["log 0: 0, -104", [0, -104], 1],
  ["0 / 0: -120, -121", [-120, -121], 0],
];

const NAIVE = "var(--second)";
const STABLE = "var(--first)";

/**
 * @param {{ numbers: { logits: number[], target: number }, change: (part: object) => void }} props
 */
export function NumbersView({ numbers, change }) {
  const { logits, target } = numbers;
  const [rate, setRate] = useState(1);
  const rough = naive(logits, target);
  const stable = explain({ logits, target });
  const why = trouble(logits, target);
  const steps = descend(logits, target, rate, 30);
  const move = (/** @type {number} */ k, /** @type {number} */ x) =>
    change({ logits: logits.map((old, j) => (j === k ? x : old)) });
  return (
    <>
      <p>
        The textbook formula, exp(z) / sum of exp(z), then -log, fails in float32 where logits are not near 0. The
        stable formula subtracts the largest logit first, and never takes the logarithm of a probability.
      </p>
      <div class="line">
        <label>
          Show{" "}
          <select value="" onChange={(event) => {
            const example = EXAMPLES[Number(event.currentTarget.value)];
            if (example) change({ logits: example[1], target: example[2] });
            event.currentTarget.value = "";
          }}>
            <option value="">an example …</option>
            {EXAMPLES.map(([name], k) => <option key={name} value={k}>{name}</option>)}
          </select>
        </label>
        <button type="button" disabled={logits.length >= 6} onClick={() => change({ logits: [...logits, 0] })}>
          Add a class
        </button>
        <button type="button" disabled={logits.length <= 2} onClick={() => change({
          logits: logits.slice(0, -1), target: Math.min(target, logits.length - 2),
        })}>
          Remove the last class
        </button>
      </div>
      <Slider label={`Logit of class ${target}`} value={logits[target]} min={-120} max={120} step={1}
        change={(x) => move(target, x)} />
      <Cards label="Results" cards={[
        ["Loss, textbook formula", text(rough.loss), "float32, each step rounded"],
        ["Loss, stable formula", text(stable.loss), "nats"],
        ["Gradient of the target, textbook", text(rough.grad[target]), "by the chain rule through p"],
        ["Gradient of the target, stable", text(stable.grad[target]), "p - 1, as -rest / (1 + rest)"],
      ]} />
      <p class={why ? "finding" : "finding good"}>{why ?? "Both formulas agree here to at least three digits."}</p>
      <Announcement text={`Textbook loss ${text(rough.loss, 4)}, stable loss ${text(stable.loss, 4)}. ${why ?? ""}`} />
      <div class="scroll" tabindex={0} role="region" aria-label="Both formulas, step by step">
        <table>
          <thead>
            <tr>
              <td colspan={3} />
              <th scope="colgroup" colspan={3} class="n">textbook, float32</th>
              <th scope="colgroup" colspan={3} class="n">stable</th>
            </tr>
            <tr>
              <th scope="col">class</th><th scope="col">target</th><th scope="col">logit z</th>
              <th scope="col" class="n">exp(z)</th><th scope="col" class="n">p</th>
              <th scope="col" class="n">gradient</th>
              <th scope="col" class="n">exp(z - peak)</th><th scope="col" class="n">p</th>
              <th scope="col" class="n">gradient</th>
            </tr>
          </thead>
          <tbody>
            {logits.map((x, k) => (
              <tr key={k}>
                <th scope="row"><span class="dot" style={{ background: color(k) }} /> {k}</th>
                <td>
                  <input type="radio" name="numbers-target" aria-label={`class ${k} is the target`}
                    checked={target === k} onChange={() => change({ target: k })} />
                </td>
                <td><NumberField label={`logit of class ${k}`} hidden value={x} change={(z) => move(k, z)} /></td>
                {[rough.exp[k], rough.p[k], rough.grad[k]].map((v, i) => (
                  <td key={i} class={Number.isFinite(v) ? "n" : "n warning"}>{text(v)}</td>
                ))}
                {[stable.exp[k], stable.p[k], stable.grad[k]].map((v, i) => <td key={i} class="n">{text(v)}</td>)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div class="pictures wide">
        <Sweep logits={logits} target={target} />
        <Descent steps={steps} />
      </div>
      <Slider label="Learning rate" value={rate} min={0.01} max={1e10} step={0.1} log allowed={(x) => x > 0 && x < 1e30}
        rule="a number above 0" change={setRate} />
      <p class="note">
        Both start at these logits and take 30 steps of gradient descent on them. Where the loss is 0 and the gradient
        of the target's logit too, training has stopped. Where the gradient is nan, every later logit is nan.
      </p>
      <Code codes={numbersCodes(numbers)} />
    </>
  );
}

/**
 * The loss of both formulas against the logit of the target, and where the textbook formula gives inf, nan or 0.
 * @param {{ logits: number[], target: number }} props
 */
function Sweep({ logits, target }) {
  const others = logits.filter((_, k) => k !== target);
  const middle = others.reduce((a, b) => Math.max(a, b), -Infinity);
  const centre = Math.abs(middle) < 60 ? 0 : middle;
  const end = /** @type {[number, number]} */ ([centre - 125, centre + 125]);
  const places = Array.from({ length: 251 }, (_, i) => end[0] + i);
  const at = (/** @type {number} */ x) => logits.map((old, k) => (k === target ? x : old));
  const rough = places.map((x) => naive(at(x), target).loss);
  const stable = places.map((x) => explain({ logits: at(x), target }).loss);
  const kinds = rough.map((v) => (Number.isNaN(v) ? "nan" : v === Infinity ? "inf" : v === 0 ? "0" : ""));
  /** @type {{ kind: string, from: number, to: number }[]} */
  const bands = [];
  kinds.forEach((kind, i) => {
    const last = bands.at(-1);
    if (last && last.kind === kind) last.to = places[i] + 0.5;
    else bands.push({ kind, from: places[i] - 0.5, to: places[i] + 0.5 });
  });
  return (
    <Chart title="Loss" note={`against the logit of class ${target}, logarithmic`} across={`logit of class ${target}`} log
      range={[1e-55, 1e12]} end={end} at={logits[target] >= end[0] && logits[target] <= end[1] ? logits[target] : undefined}
      series={[
        { name: "stable", color: STABLE, points: places.map((x, i) => [x, stable[i]]) },
        { name: "textbook, float32", color: NAIVE, dashed: true, points: places.map((x, i) => [x, rough[i]]) },
      ]}>
      {(/** @type {(v: number) => number} */ x) => bands.filter(({ kind }) => kind).map(({ kind, from, to }) => (
        <g key={from}>
          <rect class={`band of-${kind}`} x={Math.max(46, x(from))} width={Math.min(352, x(to)) - Math.max(46, x(from))}
            y={14} height={172} />
          <text class="number" x={(Math.max(46, x(from)) + Math.min(352, x(to))) / 2} y={28}>{kind}</text>
        </g>
      ))}
    </Chart>
  );
}

/**
 * @param {{ steps: ReturnType<typeof descend> }} props
 */
function Descent({ steps }) {
  const points = (/** @type {number[]} */ losses) =>
    losses.map((v, i) => /** @type {[number, number]} */ ([i, v]));
  const shown = [...steps.naive.losses, ...steps.stable.losses].filter((v) => v > 0 && Number.isFinite(v));
  const low = Math.min(...shown, 1);
  const high = Math.max(...shown, low * 10);
  const lost = steps.naive.losses.findIndex((v) => !Number.isFinite(v));
  const zero = steps.naive.losses.findIndex((v) => v === 0);
  const note = lost >= 0 ? `textbook: ${text(steps.naive.losses[lost])} at step ${lost}`
    : zero >= 0 ? `textbook: 0 from step ${zero}` : "logarithmic";
  return (
    <Chart title="Training from here" note={note} across="step" log end={[0, 30]}
      range={[Math.max(low / 3, 1e-300), high * 3]}
      series={[
        { name: "stable", color: STABLE, points: points(steps.stable.losses) },
        { name: "textbook, float32", color: NAIVE, dashed: true, points: points(steps.naive.losses) },
      ]} />
  );
}
