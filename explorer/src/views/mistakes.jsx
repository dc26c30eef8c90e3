// Mistakes: the usual ones -> the wrong loss beside the right one, and what training does with each.
import { useMemo } from "preact/hooks";
import { Chart, rangeOf } from "../chart.jsx";
import { mistakeCodes } from "../code_mistakes.js";
import { Announcement, Cards, Choice, Code } from "../controls.jsx";
import { text } from "../format.js";
import { BAD, GOOD, MISTAKES, right, softmax, TARGETS } from "../mistakes.js";
import { argmax, explain } from "../math.js";
import { features, logitsOf, SETS, stepped, zeros } from "../training.js";

const STEPS = 60;

/**
 * The mean loss, by the right formula, of a linear layer that is trained with the gradient of `loss`.
 * @param {import("../mistakes.js").Loss} loss
 * @param {import("../training.js").Point[]} points
 */
function trained(loss, points) {
  const x = points.map((point) => features(point, false));
  const y = points.map((point) => point.k);
  let weights = zeros(3, false);
  const losses = [];
  for (let i = 0; ; i++) {
    const logits = x.map((f) => logitsOf(weights, f));
    losses.push(right(logits, y).loss);
    if (i === STEPS) {
      const hits = logits.filter((row, n) => argmax(row) === y[n]).length;
      return { losses, hits: hits / y.length };
    }
    const { grad } = loss(logits, y);
    const gradient = weights.map((row, k) => row.map((_, d) => x.reduce((total, f, n) => total + grad[n][k] * f[d], 0)));
    weights = stepped(weights, gradient, 1);
  }
}

/** Of "One-hot row as indices" the batch has as many samples as classes: one point of each, in the targets' order. */
const ONE_OF_EACH = TARGETS.map((k) => /** @type {import("../training.js").Point} */ (SETS.three.points.find((p) => p.k === k)));

/**
 * @param {{ mistakes: { which: string, batch: string }, change: (part: object) => void }} props
 */
export function MistakesView({ mistakes, change }) {
  const { which, batch } = mistakes;
  const mistake = MISTAKES[which];
  const logits = batch === "good" ? GOOD : BAD;
  const wrong = mistake.wrong(logits, TARGETS);
  const correct = mistake.right(logits, TARGETS);
  const [bad, good] = useMemo(() => {
    const points = which === "indices" ? ONE_OF_EACH : SETS.three.points;
    return [trained(mistake.wrong, points), trained(mistake.right, points)];
  }, [which]);
  const curve = (/** @type {number[]} */ losses) => losses.map((v, i) => /** @type {[number, number]} */ ([i, v]));
  return (
    <>
      <p>
        Each of these runs without an error, and gives a wrong number. Choose one to see the wrong number, the right one,
        and the effect on training.
      </p>
      <Choice label="Mistake" value={which} change={(word) => change({ which: word })}
        options={Object.entries(MISTAKES).map(([word, { name }]) => /** @type {[string, string]} */ ([word, name]))} />
      <Choice label="Batch" value={batch} change={(word) => change({ batch: word })}
        options={[["good", "right about all three samples"], ["bad", "wrong about all three"]]} />
      <p class="finding">{mistake.what}</p>
      <Cards label="Results" cards={[
        ["Wrong loss", text(wrong.loss), "what is printed"],
        ["Right loss", text(correct.loss), "nats"],
        ["Wrong, trained", text(bad.losses[STEPS], 4), `true loss after ${STEPS} steps; ${text(100 * bad.hits, 3)} % right`],
        ["Right, trained", text(good.losses[STEPS], 4), `true loss after ${STEPS} steps; ${text(100 * good.hits, 3)} % right`],
      ]} />
      <Announcement text={`${mistake.name}: wrong loss ${text(wrong.loss, 4)}, right loss ${text(correct.loss, 4)}.`} />
      <p>{mistake.why} {mistake.effect}</p>
      {which === "classes" && (
        <p>
          One tutorial prints {text(-Math.log(0.8) / 3)} and {text(-Math.log(0.1) / 3)} for the probabilities 0.1, 0.1, 0.8
          and 0.8, 0.1, 0.1 with class 2: -log 0.8 = {text(-Math.log(0.8))} and -log 0.1 = {text(-Math.log(0.1))}, divided
          by 3.
        </p>
      )}
      <p>
        {mistake.check
          ? <>The function <code>lastlayer.check</code> finds it: <code>{mistake.check}</code>.</>
          : <>It shows where all logits are equal: the right loss is log V there, and this one is not.</>}
      </p>
      <div class="pictures wide">
        <Chart title="True loss while training" note="a linear layer, learning rate 1" across="step" end={[0, STEPS]}
          range={rangeOf([...good.losses, ...bad.losses])}
          series={[
            { name: "trained with the right loss", color: "var(--first)", points: curve(good.losses) },
            { name: "trained with the mistake", color: "var(--second)", dashed: true, points: curve(bad.losses) },
          ]} />
        <Batch logits={logits} wrong={wrong} correct={correct} which={which} />
      </div>
      <Code codes={mistakeCodes(which, logits)} />
    </>
  );
}

/**
 * @param {{ logits: number[][], wrong: import("../mistakes.js").Result, correct: import("../mistakes.js").Result,
 *   which: string }} props
 */
function Batch({ logits, wrong, correct, which }) {
  const columns = logits[0].map((_, j) => explain({ logits: logits.map((row) => row[j]) }).p);
  const used = which === "axis" ? logits.map((row, i) => row.map((_, j) => columns[j][i]))
    : which === "twice" ? logits.map((row) => softmax(softmax(row))) : logits.map(softmax);
  const rows = (/** @type {number[][]} */ values) => values.map((row, i) => (
    <td key={i} class="n">{row.map((x) => x.toFixed(2)).join("  ")}</td>
  ));
  const shown = [logits, used, logits.map(softmax), wrong.grad, correct.grad].map(rows);
  const names = ["logits", "p, with the mistake", "p", "gradient, wrong", "gradient, right"];
  return (
    <div class="scroll" tabindex={0} role="region" aria-label="The batch, a row for each sample">
      <table class="batch">
        <caption>The batch: three samples, three classes</caption>
        <thead>
          <tr><td />{TARGETS.map((y, i) => <th key={i} scope="col" class="n">sample {i}, class {y}</th>)}</tr>
        </thead>
        <tbody>
          {names.map((name, r) => <tr key={name}><th scope="row">{name}</th>{shown[r]}</tr>)}
        </tbody>
      </table>
    </div>
  );
}
