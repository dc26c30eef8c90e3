// The controls of all views: number fields, sliders, choices, and the text that a screen reader is told.
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { parsed } from "./format.js";

/**
 * A field for a number. What is no number, or not allowed, is marked and not taken.
 * @param {{ label: string, value: number, change: (x: number) => void, allowed?: (x: number) => boolean,
 *   rule?: string, hidden?: boolean }} props
 */
export function NumberField({ label, value, change, allowed = Number.isFinite, rule = "a number", hidden = false }) {
  const id = useId();
  const [draft, setDraft] = useState(/** @type {string | null} */ (null));
  const shown = draft ?? (Number.isFinite(value) ? String(value) : value > 0 ? "inf" : "-inf");
  const found = parsed(shown);
  const wrong = found === null || !allowed(found);
  return (
    <span class="field">
      <label for={id} class={hidden ? "hidden" : undefined}>{label}</label>
      <input
        id={id} type="text" inputmode="decimal" autocomplete="off" spellcheck={false} size={7} value={shown}
        aria-invalid={wrong || undefined} aria-describedby={wrong ? `${id}-rule` : undefined}
        onInput={(event) => {
          const typed = event.currentTarget.value;
          setDraft(typed);
          const x = parsed(typed);
          if (x !== null && allowed(x)) change(x);
        }}
        onBlur={() => setDraft(null)}
      />
      {wrong && <span class="rule" id={`${id}-rule`} role="alert">expected {rule}</span>}
    </span>
  );
}

/**
 * A slider with a field for the same number; `log`: equal steps multiply.
 * @param {{ label: string, value: number, change: (x: number) => void, min: number, max: number, step?: number,
 *   log?: boolean, allowed?: (x: number) => boolean, rule?: string }} props
 */
export function Slider({ label, value, change, min, max, step = 0.01, log = false, allowed, rule }) {
  const id = useId();
  const to = (/** @type {number} */ x) => (log ? Math.log10(x) : x);
  const from = (/** @type {number} */ x) => (log ? Number((10 ** x).toPrecision(3)) : x);
  return (
    <span class="slider">
      <label for={id}>{label}</label>
      <input
        id={id} type="range" min={to(min)} max={to(max)} step={step} value={to(value)} aria-valuetext={String(value)}
        onInput={(event) => change(from(Number(event.currentTarget.value)))}
      />
      <NumberField label={`${label}, typed`} hidden value={value} change={change} allowed={allowed} rule={rule} />
    </span>
  );
}

/**
 * One of a few words.
 * @param {{ label: string, value: string, options: (readonly [string, string])[], change: (x: string) => void }} props
 */
export function Choice({ label, value, options, change }) {
  const name = useId();
  return (
    <fieldset class="choice">
      <legend>{label}</legend>
      {options.map(([word, shown]) => (
        <label key={word}>
          <input type="radio" name={name} checked={value === word} onChange={() => change(word)} /> {shown}
        </label>
      ))}
    </fieldset>
  );
}

/**
 * @param {{ label: string, value: boolean, change: (x: boolean) => void }} props
 */
export function Switch({ label, value, change }) {
  return (
    <label class="switch">
      <input type="checkbox" checked={value} onChange={(event) => change(event.currentTarget.checked)} /> {label}
    </label>
  );
}

/**
 * Text that a screen reader is told when it has not changed for half a second.
 * @param {{ text: string }} props
 */
export function Announcement({ text }) {
  const [said, setSaid] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setSaid(text), 500);
    return () => clearTimeout(timer);
  }, [text]);
  return <p class="hidden" aria-live="polite">{said}</p>;
}

/**
 * The code of the present state, in one of a few libraries, to copy.
 * @param {{ codes: [string, string][] }} props
 */
export function Code({ codes }) {
  const [library, setLibrary] = useState(codes[0][0]);
  const [said, setSaid] = useState("");
  const text = useRef(/** @type {HTMLPreElement | null} */ (null));
  const code = (codes.find(([name]) => name === library) ?? codes[0])[1];
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(code);
      setSaid("Copied.");
    } catch {
      if (text.current) getSelection()?.selectAllChildren(text.current);
      setSaid("Selected: copy it with the keyboard.");
    }
  };
  return (
    <details class="code">
      <summary>Copy as code</summary>
      <div class="line">
        <Choice label="Library" value={library} options={codes.map(([name]) => [name, name])} change={setLibrary} />
        <button type="button" onClick={copy}>Copy</button>
        <span role="status">{said}</span>
      </div>
      <pre ref={text} tabindex={0} role="region" aria-label={`Code in ${library}`}><code>{code}</code></pre>
    </details>
  );
}

/**
 * Headline numbers.
 * @param {{ label: string, cards: [string, string, string?][] }} props
 */
export function Cards({ label, cards }) {
  return (
    <ul class="cards" aria-label={label}>
      {cards.map(([title, value, beside]) => (
        <li key={title}>
          <h3>{title}</h3>
          <p class="value">{value}</p>
          {beside && <p class="beside">{beside}</p>}
        </li>
      ))}
    </ul>
  );
}
