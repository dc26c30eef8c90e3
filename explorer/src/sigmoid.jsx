// Two classes: the probability of class 1 as the sigmoid of the difference of the logits.
import { brief } from "./format.js";
import { sigmoid } from "./math.js";

/**
 * @param {{ z: number[], p: number[] }} props
 */
export function Sigmoid({ z, p }) {
  const d = z[1] - z[0];
  const end = Math.max(6, Math.min(1e300, Math.abs(d) * 1.1) || 0);
  const x = (/** @type {number} */ v) => 140 + (130 * Math.max(-end, Math.min(end, v))) / end;
  const y = (/** @type {number} */ v) => 166 - 144 * v;
  const curve = Array.from({ length: 131 }, (_, i) => -end + (2 * end * i) / 130);
  return (
    <figure>
      <figcaption><strong>p₁ = sigmoid(z₁ - z₀)</strong> <span>two classes</span></figcaption>
      <svg viewBox="0 0 280 190" role="img"
        aria-label={`Sigmoid: at a difference of ${brief(d)}, class 1 has probability ${brief(p[1])}`}>
        <line class="axis" x1={10} x2={270} y1={y(0)} y2={y(0)} />
        <line class="axis" x1={140} x2={140} y1={y(0)} y2={y(1)} />
        <path class="curve" d={curve.map((v, i) => `${i ? "L" : "M"}${x(v).toFixed(1)} ${y(sigmoid(v)).toFixed(1)}`).join("")} />
        {Number.isFinite(p[1]) && (
          <>
            <circle class="handle" style={{ color: "var(--class-1)" }} cx={x(d)} cy={y(p[1])} r={6} />
            <text class="number" x={Math.max(40, Math.min(240, x(d)))} y={Math.max(14, y(p[1]) - 10)}>p₁ = {brief(p[1])}</text>
          </>
        )}
        <text class="name" x={140} y={184}>z₁ - z₀ = {brief(d)}</text>
      </svg>
    </figure>
  );
}
