// Questions: a prediction about a row -> the row after the change, which says whether it was right.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Arrows, Bars } from "../columns.jsx";
import { text } from "../format.js";
import { explain } from "../math.js";
import { answerOf, QUESTIONS } from "../questions.js";

/** @typedef {import("../math.js").Row} Row */

/**
 * @param {{ question: { number: number }, change: (part: object) => void, open: (row: Row) => void }} props
 */
export function QuestionsView({ question: { number }, change, open }) {
  const [given, setGiven] = useState(/** @type {Record<number, number>} */ ({}));
  const heading = useRef(/** @type {HTMLHeadingElement | null} */ (null));
  const moved = useRef(false);
  const one = QUESTIONS[number - 1];
  const chosen = given[number];
  const right = answerOf(one);
  const answered = chosen !== undefined;
  const score = Object.entries(given).filter(([n, k]) => answerOf(QUESTIONS[Number(n) - 1]) === k).length;
  useLayoutEffect(() => {
    if (moved.current) heading.current?.focus();
  }, [number]);
  const go = (/** @type {number} */ to) => {
    moved.current = true;
    change({ number: to });
  };
  const [before, after] = [explain(one.before), explain(one.after)];
  const changes = one.before !== one.after && JSON.stringify(one.before) !== JSON.stringify(one.after);
  return (
    <>
      <p>Predict first, then let the picture answer. {Object.keys(given).length > 0 && (
        <span>So far {score} of {Object.keys(given).length} right.</span>
      )}</p>
      <h3 ref={heading} tabindex={-1} class="question">Question {number} of {QUESTIONS.length}: {one.text}</h3>
      <div class="line answers" role="group" aria-label="Answers">
        {one.answers.map(([word], k) => (
          <button key={word} type="button" aria-pressed={chosen === k}
            class={answered && k === right ? "is-right" : answered && k === chosen ? "is-wrong" : undefined}
            aria-disabled={answered || undefined}
            onClick={() => answered || setGiven((old) => ({ ...old, [number]: k }))}>
            {answered && k === right ? "✓ " : answered && k === chosen ? "✗ " : ""}{word}
          </button>
        ))}
      </div>
      <div aria-live="polite">
        {answered && (
          <p class={chosen === right ? "finding good" : "finding"}>
            <strong>{chosen === right ? "Right." : `No: ${one.answers[right][0]}`}</strong> {one.why}{" "}
            {!changes || one.look === "p" ? "" : `Loss: ${text(before.loss, 5)} before, ${text(after.loss, 5)} after.`}
            {!changes && one.look === "loss" ? `Loss: ${text(after.loss, 5)}.` : ""}
          </p>
        )}
      </div>
      <div class={`two-rows${answered ? " answered" : ""}`}>
        <Pictures name={changes ? "Before" : "The row"} row={one.before} look={one.look} hidden={!answered && !changes} />
        {changes && answered && <Pictures name="After" row={one.after} look={one.look} />}
      </div>
      <div class="line">
        <button type="button" disabled={number <= 1} onClick={() => go(number - 1)}>Previous</button>
        <button type="button" disabled={number >= QUESTIONS.length} onClick={() => go(number + 1)}>Next</button>
        {answered && <button type="button" onClick={() => open(one.after)}>Open it in "One row"</button>}
      </div>
    </>
  );
}

/**
 * Logits, probabilities and gradient of a row; `hidden`: only the logits, while the answer is not given.
 * @param {{ name: string, row: Row, look: string, hidden?: boolean }} props
 */
function Pictures({ name, row, look, hidden = false }) {
  const found = explain(row);
  const low = Math.min(0, ...row.logits.filter(Number.isFinite));
  const options = [
    row.temperature && `temperature ${row.temperature}`, row.softcap && `softcap ${row.softcap}`,
    row.smoothing && `label smoothing ${row.smoothing}`, row.weights && `class weights ${row.weights.join(", ")}`,
  ].filter(Boolean).join(", ");
  return (
    <section aria-label={name}>
      <h4>{name}{options && <span class="note"> with {options}</span>}
        {!hidden && <span class="note"> loss {text(found.loss, 5)}, entropy {text(found.entropy, 5)}</span>}</h4>
      <div class="pictures">
        <Bars title="Logits" note={`target: class ${row.target}`} values={row.logits}
          most={Math.max(...row.logits.filter(Number.isFinite)) - low || 1} />
        {!hidden && <Bars title="Probabilities" note="line: t" values={found.p} marks={found.t} most={Math.max(1, ...found.t)} />}
        {!hidden && look !== "p" && (
          <Arrows title="Step downhill" gradient={found.grad} />
        )}
      </div>
    </section>
  );
}
