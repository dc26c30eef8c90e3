// The page: which view is shown, and its state, which the address holds too.
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { codes } from "./code.js";
import { text } from "./format.js";
import { explain, sigmoid } from "./math.js";
import { naive } from "./naive.js";
import { fromHash, initial, toHash } from "./state.js";
import { numbersCodes } from "./code_numbers.js";
import { mistakeCodes } from "./code_mistakes.js";
import { BAD, GOOD, MISTAKES, TARGETS } from "./mistakes.js";
import { MistakesView } from "./views/mistakes.jsx";
import { trainingCodes } from "./code_training.js";
import { intervals, objective, SETS } from "./training.js";
import { advanced, TrainingView } from "./views/training.jsx";
import { PRESETS } from "./presets.js";
import { answerOf, QUESTIONS } from "./questions.js";
import { QuestionsView } from "./views/questions.jsx";
import { NumbersView } from "./views/numbers.jsx";
import { RowView } from "./views/row.jsx";

const NAMES = /** @type {[string, string][]} */ ([["row", "One row"], ["numbers", "Numbers"], ["mistakes", "Mistakes"],
  ["training", "Training"], ["questions", "Questions"]]);

const FLAT = PRESETS.flatMap(([, some]) => some.map(([, found]) => found));

/**
 * The state with a view opened, and the values of that view as given, the others as at first.
 * @param {{ view: string, part: object }} found
 * @returns {(old: import("./state.js").State) => import("./state.js").State}
 */
const opened = ({ view, part }) => (old) => ({ ...old, view, [view]: { .../** @type {any} */ (initial())[view], ...part } });

function App() {
  const [state, setState] = useState(() => fromHash(location.hash));
  useEffect(() => {
    const timer = setTimeout(() => history.replaceState(null, "", toHash(state)), 100);
    return () => clearTimeout(timer);
  }, [state]);
  useEffect(() => {
    const read = () => setState(fromHash(location.hash));
    addEventListener("hashchange", read);
    return () => removeEventListener("hashchange", read);
  }, []);
  /** @param {"row" | "numbers" | "mistakes" | "training" | "question"} group */
  const change = (group) => (/** @type {any} */ part) =>
    setState((old) => ({ ...old, [group]: { ...old[group], ...(typeof part === "function" ? part(old[group]) : part) } }));
  // Another view is another entry of the browser's history.
  const go = (/** @type {(old: import("./state.js").State) => import("./state.js").State} */ to) => {
    history.replaceState(null, "", toHash(state));
    history.pushState(null, "", toHash(to(state)));
    setState(to);
  };
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => {
        event.preventDefault();
        document.getElementById("main")?.focus();
      }}>Skip to the content</a>
      <header>
        <h1>Softmax and cross-entropy: an explorer</h1>
        <label class="presets">
          Worked numbers{" "}
          <select value="" onChange={(event) => {
            const found = FLAT[Number(event.currentTarget.value)];
            event.currentTarget.value = "";
            if (found) go(opened(found));
          }}>
            <option value="">choose one …</option>
            {PRESETS.map(([group, some]) => (
              <optgroup key={group} label={group}>
                {some.map((one) => <option key={one[0]} value={FLAT.indexOf(one[1])}>{one[0]}</option>)}
              </optgroup>
            ))}
          </select>
        </label>
      </header>
      <nav aria-label="Views">
        <ul>
          {NAMES.map(([view, name]) => (
            <li key={view}>
              <a href={toHash({ ...state, view })} aria-current={state.view === view ? "page" : undefined}
                onClick={(event) => {
                  event.preventDefault();
                  go((old) => ({ ...old, view }));
                }}>{name}</a>
            </li>
          ))}
        </ul>
      </nav>
      <main id="main" tabindex={-1}>
        <h2>{NAMES.find(([view]) => view === state.view)?.[1]}</h2>
        {state.view === "row" && <RowView row={state.row} change={change("row")} />}
        {state.view === "numbers" && <NumbersView numbers={state.numbers} change={change("numbers")} />}
        {state.view === "mistakes" && <MistakesView mistakes={state.mistakes} change={change("mistakes")} />}
        {state.view === "training" && <TrainingView training={state.training} change={change("training")} />}
        {state.view === "questions" && (
          <QuestionsView question={state.question} change={change("question")}
            open={(row) => go(opened({ view: "row", part: row }))} />
        )}
      </main>
      <footer>
        <p>Everything is computed in this page, in float64, by the formulas of lastlayer. The address holds the state:
          copy it to share what you see.</p>
      </footer>
    </>
  );
}

// For the console: explorer.explain({ logits: [0.1, 0.9, 4], target: 2 }).
Object.assign(globalThis, {
  explorer: {
    explain, naive, sigmoid, text, codes, numbersCodes, mistakeCodes, trainingCodes, MISTAKES, GOOD, BAD, TARGETS, SETS,
    objective, advanced, intervals, QUESTIONS, answerOf, PRESETS,
  },
});

render(<App />, /** @type {HTMLElement} */ (document.getElementById("app")));
