// Training: points and a linear layer -> decision regions, the loss curve, weights, and the gradient of one point.
import { useEffect, useState } from "preact/hooks";
import { Chart, rangeOf } from "../chart.jsx";
import { trainingCodes } from "../code_training.js";
import { Arrows, color } from "../columns.jsx";
import { Announcement, Cards, Choice, Code, NumberField, Slider, Switch } from "../controls.jsx";
import { text } from "../format.js";
import { argmax } from "../math.js";
import { END, Plane } from "../plane.jsx";
import { features, logitsOf, objective, ofPoint, SETS, stepped, zeros } from "../training.js";

/** @typedef {import("../state.js").TrainingState} TrainingState */

const MOST_POINTS = 150;
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Points, weights and the losses so far, with defaults. @param {TrainingState} state */
export function resolved({ set, points, weights, product, step, history }) {
  const found = points ?? SETS[set].points;
  const w = weights ?? zeros(SETS[set].classes, product);
  return { points: found, weights: w, history: history ?? [[step, objective(found, w, product).loss]] };
}

/**
 * After more steps.
 * @param {TrainingState} state @param {number} count
 * @returns {Partial<TrainingState>}
 */
export function advanced(state, count) {
  const { points, history } = resolved(state);
  let { weights } = resolved(state);
  let { step } = state;
  const losses = /** @type {[number, number][]} */ ([...history]);
  for (let i = 0; i < count; i++) {
    weights = stepped(weights, objective(points, weights, state.product).gradient, state.rate);
    step += 1;
    losses.push([step, objective(points, weights, state.product).loss]);
  }
  return { weights, step, history: losses.length > 800 ? losses.filter((_, i) => i % 2 === 0 || i > 700) : losses };
}

/**
 * @param {{ training: TrainingState, change: (part: object | ((old: TrainingState) => object)) => void }} props
 */
export function TrainingView({ training, change }) {
  const { set, product, rate, step } = training;
  const { points, weights, history } = resolved(training);
  const { classes } = SETS[set];
  const [selected, setSelected] = useState(0);
  const [adding, setAdding] = useState(0);
  const [running, setRunning] = useState(false);
  const { loss, right } = objective(points, weights, product);
  const predicted = points.map((point) => argmax(logitsOf(weights, features(point, product))));
  const place = Math.min(selected, points.length - 1);

  useEffect(() => {
    if (!running) return undefined;
    let frame = requestAnimationFrame(function next() {
      change((old) => advanced(old, 2));
      frame = requestAnimationFrame(next);
    });
    return () => cancelAnimationFrame(frame);
  }, [running]);
  useEffect(() => {
    if (running && (step >= 5000 || !Number.isFinite(loss))) setRunning(false);
  }, [running, step, loss]);

  const restart = { weights: null, step: 0, history: null };
  const move = (/** @type {number} */ i, /** @type {number} */ x, /** @type {number} */ y) =>
    change({ points: points.map((point, j) => (j === i ? { ...point, x, y } : point)) });
  const add = (/** @type {number} */ x, /** @type {number} */ y) => {
    if (points.length >= MOST_POINTS) return;
    change({ points: [...points, { x, y, k: Math.min(adding, classes - 1) }] });
    setSelected(points.length);
  };
  const remove = (/** @type {number} */ i) => {
    if (points.length > 1) change({ points: points.filter((_, j) => j !== i) });
  };
  return (
    <>
      <p>
        A linear layer gives each class a logit, w₁ x₁ + w₂ x₂ + b. Gradient descent on the mean cross-entropy moves the
        weights. Click in the picture to add a point, drag points, then train.
      </p>
      <Choice label="Points" value={set}
        options={Object.entries(SETS).map(([word, { name }]) => /** @type {[string, string]} */ ([word, name]))}
        change={(word) => change({ set: word, points: null, product: false, ...restart })} />
      <div class="line">
        <button type="button" onClick={() => change((old) => advanced(old, 1))}>Step</button>
        <button type="button" onClick={() => (still() ? change((old) => advanced(old, 100)) : setRunning(!running))}>
          {running ? "Pause" : "Run"}
        </button>
        <button type="button" onClick={() => {
          setRunning(false);
          change(restart);
        }}>Reset</button>
        <Slider label="Learning rate" value={rate} min={0.01} max={100} log allowed={(x) => Number.isFinite(x) && x > 0}
          rule="a number above 0" change={(x) => change({ rate: x })} />
        <Switch label="add the feature x₁ x₂" value={product} change={(on) => change({ product: on, ...restart })} />
      </div>
      <Cards label="Results" cards={[
        ["Step", String(step)],
        ["Mean loss", text(loss), `nats; with equal logits log ${classes} = ${text(Math.log(classes), 4)}`],
        ["Right", `${text(100 * right, 4)} %`, `of ${points.length} points`],
      ]} />
      <Announcement text={running ? "" : `Step ${step}: loss ${text(loss, 4)}, ${text(100 * right, 3)} percent right.`} />
      {set === "xor" && !product && (
        <p class="finding">
          Two straight regions cannot separate these points: the loss stays near log 2 = 0.6931. With the feature x₁ x₂
          the classes differ by its sign, and the same linear layer separates them.
        </p>
      )}
      <div class="pictures wide">
        <figure>
          <figcaption><strong>Points and predicted classes</strong> <span>arrows: the weights w; thick rim: predicted
            wrong</span></figcaption>
          <Plane points={points} weights={weights} product={product} predicted={predicted} selected={place}
            select={setSelected} move={move} add={add} remove={remove} />
        </figure>
        <div class="stack">
          <Chart title="Mean loss" note="while training" across="step" end={[0, Math.max(20, step)]}
            range={rangeOf(history.map(([, v]) => v))}
            series={[{ name: "mean loss", color: "var(--first)", points: history }]} />
          <Weights weights={weights} product={product} />
        </div>
      </div>
      <Selected points={points} place={place} weights={weights} product={product} classes={classes} move={move}
        remove={remove} change={(k) => change({ points: points.map((point, j) => (j === place ? { ...point, k } : point)) })}
        select={setSelected} adding={adding} setAdding={setAdding} add={() => add(0, 0)} />
      <Code codes={trainingCodes(points, weights, product, rate)} />
    </>
  );
}

/**
 * The weights as a table whose colours say sign and size.
 * @param {{ weights: number[][], product: boolean }} props
 */
function Weights({ weights, product }) {
  const most = Math.max(...weights.flat().map(Math.abs)) || 1;
  const tint = (/** @type {number} */ w) =>
    `color-mix(in srgb, var(${w > 0 ? "--first" : "--second"}) ${Math.round((55 * Math.abs(w)) / most) || 0}%, var(--paper))`;
  return (
    <div class="scroll" tabindex={0} role="region" aria-label="The weights">
      <table class="weights">
        <caption>The linear layer's weights <span class="note">blue: above 0, orange: below</span></caption>
        <thead>
          <tr>
            <th scope="col">class</th>
            {["w₁", "w₂", "b", "w₁₂"].slice(0, product ? 4 : 3).map((name) => <th key={name} scope="col" class="n">{name}</th>)}
          </tr>
        </thead>
        <tbody>
          {weights.map((row, k) => (
            <tr key={k}>
              <th scope="row"><span class="dot" style={{ background: color(k) }} /> {k}</th>
              {row.map((w, d) => <td key={d} class="n" style={{ background: tint(w) }}>{text(w, 4)}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/**
 * One point: where it is, its class, and its loss and gradient.
 * @param {{ points: import("../training.js").Point[], place: number, weights: number[][], product: boolean,
 *   classes: number, move: (i: number, x: number, y: number) => void, remove: (i: number) => void,
 *   change: (k: number) => void, select: (i: number) => void, adding: number, setAdding: (k: number) => void,
 *   add: () => void }} props
 */
function Selected({ points, place, weights, product, classes, move, remove, change, select, adding, setAdding, add }) {
  const point = points[place];
  const found = ofPoint(point, weights, product);
  const inside = (/** @type {number} */ v) => Math.abs(v) <= END;
  const numbers = Array.from({ length: classes }, (_, k) => /** @type {[string, string]} */ ([String(k), String(k)]));
  return (
    <section class="options" aria-labelledby="one-point">
      <h3 id="one-point">One point</h3>
      <div class="line">
        <NumberField label="Point" value={place} rule={`0 to ${points.length - 1}`} change={select}
          allowed={(i) => Number.isInteger(i) && i >= 0 && i < points.length} />
        <NumberField label="x₁" value={point.x} allowed={inside} rule={`-${END} to ${END}`} change={(x) => move(place, x, point.y)} />
        <NumberField label="x₂" value={point.y} allowed={inside} rule={`-${END} to ${END}`} change={(y) => move(place, point.x, y)} />
        <Choice label="Class" value={String(point.k)} options={numbers} change={(k) => change(Number(k))} />
        <button type="button" disabled={points.length < 2} onClick={() => remove(place)}>Remove it</button>
      </div>
      <div class="line">
        <Choice label="New points have class" value={String(Math.min(adding, classes - 1))} options={numbers}
          change={(k) => setAdding(Number(k))} />
        <button type="button" disabled={points.length >= MOST_POINTS} onClick={add}>Add a point</button>
      </div>
      <div class="pictures">
        <Arrows title="Step downhill" note={`of point ${place}`} gradient={found.grad} />
        <div class="scroll" tabindex={0} role="region" aria-label="The gradient of the point">
          <table>
            <caption>Loss {text(found.loss)}; gradient in the weights = (p - t) times the features</caption>
            <thead>
              <tr>
                <th scope="col">class</th><th scope="col" class="n">p</th><th scope="col" class="n">p - t</th>
                {["x₁", "x₂", "1", "x₁ x₂"].slice(0, found.features.length).map((name) => (
                  <th key={name} scope="col" class="n">times {name}</th>
                ))}
              </tr>
            </thead>
            <tbody>
              {found.gradient.map((row, k) => (
                <tr key={k}>
                  <th scope="row"><span class="dot" style={{ background: color(k) }} /> {k}</th>
                  <td class="n">{text(found.p[k], 4)}</td><td class="n">{text(found.grad[k], 4)}</td>
                  {row.map((g, d) => <td key={d} class="n">{text(g, 4)}</td>)}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </div>
    </section>
  );
}
