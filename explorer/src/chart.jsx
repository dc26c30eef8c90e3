// Curves with axes: numbers over numbers, on a linear or a logarithmic scale.
import { brief } from "./format.js";

const WIDTH = 360;
const HEIGHT = 230;
const LEFT = 46;
const RIGHT = 352;
const TOP = 14;
const BOTTOM = 186;

/** @typedef {{ name: string, color: string, dashed?: boolean, points: [number, number][] }} Series */

/**
 * Round numbers between two ends.
 * @param {number} low @param {number} high @param {number} least the smallest step
 */
function ticks(low, high, least = 0) {
  const rough = Math.max((high - low) / 4, least) || 1;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * ([1, 2, 5, 10].find((m) => m * unit >= rough) ?? 10);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

/**
 * Points that are not finite interrupt a curve; on a logarithmic scale, 0 is drawn at the bottom.
 * @param {{ title: string, note?: any, across: string, series: Series[], log?: boolean, range: [number, number],
 *   end: [number, number], at?: number, children?: any }} props `range`: of y; `end`: of x; `at`: a line at this x
 */
export function Chart({ title, note, across, series, log = false, range, end, at, children }) {
  const value = (/** @type {number} */ y) => (log ? Math.log10(y) : y);
  const [low, high] = range.map(value);
  const x = (/** @type {number} */ v) => LEFT + ((RIGHT - LEFT) * (v - end[0])) / (end[1] - end[0] || 1);
  const y = (/** @type {number} */ v) =>
    BOTTOM - ((BOTTOM - TOP) * (Math.max(low, Math.min(high, value(v))) - low)) / (high - low || 1);
  const shown = (/** @type {number} */ v) => Number.isFinite(v) && (v >= 0 || !log);
  const last = (/** @type {Series} */ one) => one.points.filter(([, v]) => !Number.isNaN(v)).at(-1);
  const label = `${title}: ${series.map((one) => `${one.name}, at the end ${brief(last(one)?.[1] ?? NaN)}`).join("; ")}`;
  return (
    <figure>
      <figcaption><strong>{title}</strong>{note && <span> {note}</span>}</figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label}>
        {ticks(low, high, log ? 1 : 0).map((v) => {
          const level = BOTTOM - ((BOTTOM - TOP) * (v - low)) / (high - low || 1);
          return (
            <g key={v}>
              <line class="grid" x1={LEFT} x2={RIGHT} y1={level} y2={level} />
              <text class="name end" x={LEFT - 6} y={level + 4}>{log ? (v ? `1e${brief(v)}` : "1") : brief(v)}</text>
            </g>
          );
        })}
        {ticks(...end).map((v) => <text key={v} class="name" x={x(v)} y={BOTTOM + 17}>{brief(v)}</text>)}
        <line class="axis" x1={LEFT} x2={RIGHT} y1={BOTTOM} y2={BOTTOM} />
        <text class="name" x={(LEFT + RIGHT) / 2} y={HEIGHT - 8}>{across}</text>
        {at !== undefined && <line class="mark" x1={x(at)} x2={x(at)} y1={TOP} y2={BOTTOM} />}
        {children?.(x)}
        {series.map((one) => (
          <path key={one.name} class="line-of-chart" style={{ stroke: one.color }}
            stroke-dasharray={one.dashed ? "6 4" : undefined}
            d={one.points.map(([u, v], i) => {
              if (!shown(v)) return "";
              const begins = i === 0 || !shown(one.points[i - 1][1]);
              return `${begins ? "M" : "L"}${x(u).toFixed(1)} ${y(v).toFixed(1)}`;
            }).join("")} />
        ))}
        {series.map((one) => {
          const found = last(one);
          return found && shown(found[1]) && (
            <circle key={one.name} class="end-of-line" style={{ color: one.color }} cx={x(found[0])} cy={y(found[1])} r={3.5} />
          );
        })}
      </svg>
      <ul class="legend">
        {series.map((one) => (
          <li key={one.name}>
            <svg viewBox="0 0 24 8" aria-hidden="true">
              <line x1={0} x2={24} y1={4} y2={4} style={{ stroke: one.color }}
                stroke-dasharray={one.dashed ? "6 4" : undefined} />
            </svg>
            {one.name}
          </li>
        ))}
      </ul>
    </figure>
  );
}

/**
 * A range of y that holds the numbers, with a little room.
 * @param {number[]} values
 * @returns {[number, number]}
 */
export function rangeOf(values) {
  const top = Math.max(0, ...values.filter(Number.isFinite));
  return [0, top > 0 ? top * 1.05 : 1];
}
