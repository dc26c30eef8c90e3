// Points in the plane, the regions of the predicted classes and the weights as arrows; points are added and moved.
import { useRef } from "preact/hooks";
import { brief } from "./format.js";
import { color } from "./columns.jsx";
import { intervals } from "./training.js";

/** @typedef {import("./training.js").Point} Point */

export const END = 3;
const SIZE = 400;
const STRIPS = 100;

const at = (/** @type {number} */ v) => ((v + END) * SIZE) / (2 * END);
const round = (/** @type {number} */ v) => Math.round(Math.max(-END, Math.min(END, v)) * 100) / 100;

/**
 * One path a class: strips of the plane, cut where the class changes. Where the same classes follow each other along
 * both edges of a strip, the cuts are slanted, as the boundary is.
 * @param {number[][]} weights @param {boolean} product
 */
function regions(weights, product) {
  const paths = weights.map(() => "");
  const along = (/** @type {number} */ i) => intervals(weights, product, END - (i * 2 * END) / STRIPS, END);
  let upper = along(0);
  for (let i = 0; i < STRIPS; i++) {
    const [top, bottom] = [(i * SIZE) / STRIPS, ((i + 1) * SIZE) / STRIPS];
    const lower = along(i + 1);
    const alike = upper.length === lower.length && upper.every(([, , k], n) => k === lower[n][2]);
    const [first, second] = alike ? [upper, lower] : [along(i + 0.5), along(i + 0.5)];
    first.forEach(([from, to, k], n) => {
      const at4 = [from, to, second[n][1], second[n][0]].map((v) => at(v).toFixed(1));
      paths[k] += `M${at4[0]} ${top}H${at4[1]}L${at4[2]} ${bottom}H${at4[3]}Z`;
    });
    upper = lower;
  }
  return paths;
}

/**
 * @param {{ points: Point[], weights: number[][], product: boolean, predicted: number[], selected: number,
 *   select: (i: number) => void, move: (i: number, x: number, y: number) => void,
 *   add: (x: number, y: number) => void, remove: (i: number) => void }} props
 */
export function Plane({ points, weights, product, predicted, selected, select, move, add, remove }) {
  const svg = useRef(/** @type {SVGSVGElement | null} */ (null));
  const held = useRef(/** @type {number | null} */ (null));
  const trained = weights.some((row) => row.some((w) => w !== 0)) && weights.every((row) => row.every(Number.isFinite));
  /** @param {MouseEvent} event @returns {[number, number]} */
  const place = (event) => {
    const box = /** @type {SVGSVGElement} */ (svg.current).getBoundingClientRect();
    return [
      round(((event.clientX - box.left) / box.width) * 2 * END - END),
      round(END - ((event.clientY - box.top) / box.height) * 2 * END),
    ];
  };
  /** @param {KeyboardEvent} event @param {number} i */
  const press = (event, i) => {
    const steps = /** @type {Record<string, [number, number]>} */ ({
      ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1],
    });
    const { x, y } = points[i];
    if (event.key in steps) move(i, round(x + steps[event.key][0]), round(y + steps[event.key][1]));
    else if (event.key === "PageDown") focus((i + 1) % points.length);
    else if (event.key === "PageUp") focus((i + points.length - 1) % points.length);
    else if (event.key === "Delete") remove(i);
    else return;
    event.preventDefault();
  };
  const focus = (/** @type {number} */ i) => {
    select(i);
    /** @type {SVGGElement | undefined} */ (svg.current?.querySelectorAll(".point")[i])?.focus();
  };
  const longest = Math.max(...weights.map(([a, b]) => Math.hypot(a, b)));
  return (
    <svg ref={svg} class="plane" viewBox={`0 0 ${SIZE} ${SIZE}`} role="application"
      aria-label="Points in the plane. Arrow keys move the point, Page Up and Page Down choose another, Delete removes it."
      onClick={(event) => {
        if (!(/** @type {Element} */ (event.target).closest(".point"))) add(...place(event));
      }}>
      {trained && regions(weights, product).map((d, k) => <path key={k} class="region" style={{ fill: color(k) }} d={d} />)}
      <line class="grid" x1={0} x2={SIZE} y1={at(0)} y2={at(0)} />
      <line class="grid" y1={0} y2={SIZE} x1={at(0)} x2={at(0)} />
      <text class="name end" x={SIZE - 4} y={at(0) - 5}>x₁</text>
      <text class="name" x={at(0) + 12} y={14}>x₂</text>
      {trained && weights.map(([a, b], k) => {
        const [x, y] = [at((1.4 * a) / longest), SIZE - at((1.4 * b) / longest)];
        return (
          <g key={k} style={{ color: color(k) }} class="weight">
            <line class="arrow" x1={at(0)} y1={at(0)} x2={x} y2={y} />
            <circle class="bar" cx={x} cy={y} r={5} />
          </g>
        );
      })}
      {points.map(({ x, y, k }, i) => (
        <g key={i} class={`point${predicted[i] === k ? "" : " missed"}`} style={{ color: color(k) }} role="button"
          tabindex={i === selected ? 0 : -1} aria-pressed={i === selected}
          aria-label={`point ${i} of class ${k} at ${brief(x)}, ${brief(y)}, predicted class ${predicted[i]}`}
          onFocus={() => i !== selected && select(i)}
          onPointerDown={(event) => {
            event.currentTarget.setPointerCapture(event.pointerId);
            held.current = i;
            select(i);
          }}
          onPointerMove={(event) => held.current === i && move(i, ...place(event))}
          onPointerUp={() => (held.current = null)} onPointerCancel={() => (held.current = null)}
          onKeyDown={(event) => press(event, i)}>
          <circle class="hold" cx={at(x)} cy={SIZE - at(y)} r={13} />
          {i === selected && <circle class="ring" cx={at(x)} cy={SIZE - at(y)} r={12} />}
          <circle class="disc" cx={at(x)} cy={SIZE - at(y)} r={8} />
          <text class="digit" x={at(x)} y={SIZE - at(y) + 4}>{k}</text>
        </g>
      ))}
    </svg>
  );
}
