// Pictures of one number a class: bars, bars that can be dragged, and arrows.
import { useRef, useState } from "preact/hooks";
import { brief } from "./format.js";

const WIDTH = 280;
const HEIGHT = 190;
const TOP = 22;
const BOTTOM = 166;

/** @param {number} k */
export const color = (k) => `var(--class-${k % 10})`;

/**
 * The frame of a picture: a place for each class, and its name below.
 * @param {{ title: string, count: number, note?: any, label: string, zero: number, children: any }} props
 */
function Frame({ title, count, note, label, zero, children }) {
  return (
    <figure>
      <figcaption><strong>{title}</strong>{note && <span> {note}</span>}</figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} class={count > 4 ? "many" : undefined} role="group" aria-label={label}>
        <line class="axis" x1={0} x2={WIDTH} y1={zero} y2={zero} />
        {children}
        {Array.from({ length: count }, (_, k) => (
          <text key={k} class="name" x={center(k, count)} y={HEIGHT - 6}>{count > 4 ? k : `class ${k}`}</text>
        ))}
      </svg>
    </figure>
  );
}

/**
 * @param {number} k
 * @param {number} count
 */
const center = (k, count) => ((k + 0.5) * WIDTH) / count;

/** @param {number} count */
const thickness = (count) => Math.min(56, (0.7 * WIDTH) / count);

/**
 * @param {{ x: number, y: number, value: number, count: number, below?: boolean }} props
 */
function Value({ x, y, value, count, below = false }) {
  const at = below ? Math.min(y + 15, BOTTOM + 6) : Math.max(y - 5, 12);
  return count > 6 ? null : <text class="number" x={x} y={at}>{brief(value)}</text>;
}

/**
 * Where a number stands above its bar, and not across a mark.
 * @param {number} bar @param {number} mark
 */
const clear = (bar, mark) => (mark >= bar && mark < bar + 22 ? mark : bar);

/**
 * Bars from 0 to `most`; `marks` are lines across them.
 * @param {{ title: string, values: number[], most: number, note?: any, marks?: number[] }} props
 */
export function Bars({ title, values, most, note, marks }) {
  const height = (/** @type {number} */ x) => (BOTTOM - TOP) * Math.min(1, Math.max(0, x / most) || 0);
  const wide = thickness(values.length);
  const label = `${title}: ${values.map((x, k) => `class ${k}, ${brief(x)}`).join("; ")}`;
  return (
    <Frame title={title} note={note} count={values.length} label={label} zero={BOTTOM}>
      {values.map((x, k) => (
        <g key={k} style={{ color: color(k) }}>
          <rect
            class="bar" x={center(k, values.length) - wide / 2} width={wide} y={BOTTOM - height(x)} height={height(x)}
          />
          {marks && (
            <line
              class="mark" x1={center(k, values.length) - wide / 2 - 4} x2={center(k, values.length) + wide / 2 + 4}
              y1={BOTTOM - height(marks[k])} y2={BOTTOM - height(marks[k])}
            />
          )}
          <Value x={center(k, values.length)} y={BOTTOM - clear(height(x), marks ? height(marks[k]) : 0)}
            value={x} count={values.length} />
        </g>
      ))}
    </Frame>
  );
}

/** Where a scale ends that shows these numbers. @param {number[]} values */
function reach(values) {
  const largest = Math.max(...values.filter(Number.isFinite).map(Math.abs), 0);
  for (let unit = 1; unit < 1e308; unit *= 10) {
    for (const digit of [5, 10, 20]) if (largest <= 0.95 * unit * digit) return unit * digit;
  }
  return 1.7e308;
}

/**
 * Bars about 0 that are dragged, or moved by the keyboard.
 * @param {{ title: string, values: number[], change: (k: number, x: number) => void, note?: any }} props
 */
export function DragBars({ title, values, change, note }) {
  const svg = useRef(/** @type {SVGGElement | null} */ (null));
  const [held, setHeld] = useState(/** @type {number | null} */ (null));
  const scale = useRef(0);
  if (held === null) scale.current = reach(values); // while a bar is dragged, the scale stays
  const end = scale.current;
  const middle = (TOP + BOTTOM) / 2;
  const at = (/** @type {number} */ x) => middle - ((BOTTOM - TOP) / 2) * Math.max(-1, Math.min(1, x / end));
  const wide = thickness(values.length);
  const round = (/** @type {number} */ x) => Number(x.toPrecision(3));

  /** @param {PointerEvent} event @param {number} k */
  const drag = (event, k) => {
    const box = svg.current?.ownerSVGElement?.getBoundingClientRect();
    if (!box) return;
    const y = ((event.clientY - box.top) / box.height) * HEIGHT;
    const x = ((middle - y) / ((BOTTOM - TOP) / 2)) * end;
    change(k, round(Math.max(-end, Math.min(end, Math.round((x / end) * 200) * (end / 200)))));
  };
  /** @param {KeyboardEvent} event @param {number} k */
  const press = (event, k) => {
    const step = end / 50;
    const moves = /** @type {Record<string, number>} */ ({
      ArrowUp: step, ArrowRight: step, ArrowDown: -step, ArrowLeft: -step, PageUp: 10 * step, PageDown: -10 * step,
    });
    const now = Number.isFinite(values[k]) ? values[k] : Math.sign(values[k]) * end;
    if (event.key in moves) change(k, Number((now + moves[event.key]).toPrecision(12)));
    else if (event.key === "Home") change(k, -end);
    else if (event.key === "End") change(k, end);
    else return;
    event.preventDefault();
  };
  return (
    <Frame title={title} note={note} count={values.length} label={title} zero={middle}>
      <g ref={svg}>
        {values.map((x, k) => (
          <g
            key={k} class="drag" style={{ color: color(k) }} tabindex={0} role="slider" aria-orientation="vertical"
            aria-label={`logit of class ${k}`} aria-valuenow={Number.isFinite(x) ? x : Math.sign(x) * end}
            aria-valuemin={-end} aria-valuemax={end} aria-valuetext={brief(x)}
            onPointerDown={(event) => {
              event.currentTarget.setPointerCapture(event.pointerId);
              setHeld(k);
              drag(event, k);
            }}
            onPointerMove={(event) => held === k && drag(event, k)}
            onPointerUp={() => setHeld(null)} onPointerCancel={() => setHeld(null)}
            onKeyDown={(event) => press(event, k)}
          >
            <rect class="hold" x={(k * WIDTH) / values.length} width={WIDTH / values.length} y={0} height={HEIGHT} />
            <rect
              class="bar" x={center(k, values.length) - wide / 2} width={wide}
              y={Math.min(at(x), middle)} height={Math.abs(at(x) - middle)}
            />
            <circle class="handle" cx={center(k, values.length)} cy={at(x)} r={7} />
            <Value x={center(k, values.length)} y={at(x) + (x < 0 ? 6 : -6)} value={x} count={values.length}
              below={x < 0} />
          </g>
        ))}
      </g>
    </Frame>
  );
}

/**
 * Arrows about 0: which way, and how far, a step downhill moves each logit.
 * The scale is 1 or a power of 10, so that arrows of different rows can be compared.
 * @param {{ title: string, gradient: number[], note?: string }} props
 */
export function Arrows({ title, gradient, note = "" }) {
  const largest = Math.max(...gradient.filter(Number.isFinite).map(Math.abs), 0);
  const most = largest > 1 ? largest : largest > 0.1 || largest === 0 ? 1 : 10 ** Math.ceil(Math.log10(largest));
  const scale = most === 1 ? "" : `scale ±${brief(most)}`;
  const middle = (TOP + BOTTOM) / 2;
  const label = `${title}: ${gradient.map((g, k) => `class ${k}, gradient ${brief(g)}`).join("; ")}`;
  return (
    <Frame title={title} note={[note, scale].filter(Boolean).join(", ")} count={gradient.length} label={label} zero={middle}>
      {gradient.map((g, k) => {
        const x = center(k, gradient.length);
        const y = middle + ((BOTTOM - TOP) / 2) * (Math.max(-1, Math.min(1, g / most)) || 0);
        const size = Math.min(8, Math.abs(y - middle));
        const back = y - Math.sign(y - middle) * size;
        return (
          <g key={k} style={{ color: color(k) }}>
            <line class="arrow" x1={x} x2={x} y1={middle} y2={back} />
            <path class="bar" d={`M${x - size} ${back}H${x + size}L${x} ${y}Z`} />
            <Value x={x} y={middle} value={g} count={gradient.length} below={g < 0} />
          </g>
        );
      })}
    </Frame>
  );
}
