import type { Schemas } from "../api/client";
import { formatScore, formatSigned } from "../lib/format";

/** Smaller contributions are not shown. */
const NOTHING = 0.0005;

/** The parts of a score as bars from a middle line: to the right raises the score, to the left lowers it. */
export function Explanation({ explained }: { explained: Schemas["Explained"] }) {
  const { parts, baseline, baseline_is, score } = explained;
  const shown = parts.filter((part) => Math.abs(part.contribution) >= NOTHING);
  const silent = parts.filter((part) => Math.abs(part.contribution) < NOTHING);
  const most = Math.max(...shown.map((part) => Math.abs(part.contribution)), NOTHING);
  return (
    <>
      {shown.length > 0 && (
        <table className="w-full max-w-2xl text-sm">
          <caption className="sr-only">Parts that add up to the score less the baseline</caption>
          <thead>
            <tr className="text-left text-xs text-soft">
              <th className="py-1 pr-3 font-medium">Part</th>
              <th className="py-1 pr-3 text-right font-medium">Value</th>
              <th className="w-2/5 py-1 font-medium">
                <span className="sr-only">Bar</span>
              </th>
              <th className="py-1 pl-3 text-right font-medium">Contribution</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((part) => {
              const width = `${(50 * Math.abs(part.contribution)) / most}%`;
              return (
                <tr key={part.name} className="border-t border-line">
                  <td className="py-1 pr-3" title={part.name}>
                    {part.label}
                  </td>
                  <td className="py-1 pr-3 text-right text-soft">{part.value.toFixed(2)}</td>
                  <td className="py-1">
                    <span aria-hidden className="graphic relative block h-2.5 bg-sunken">
                      <span
                        className={`graphic absolute inset-y-0 ${part.contribution < 0 ? "right-1/2 bg-complement" : "left-1/2 bg-exact"}`}
                        style={{ width }}
                      />
                      <span className="graphic absolute inset-y-0 left-1/2 w-px bg-edge" />
                    </span>
                  </td>
                  <td className="py-1 pl-3 text-right">{formatSigned(part.contribution)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      )}
      <p className="max-w-2xl pt-1 text-xs text-soft">
        The parts add up to the score {formatScore(score)} less {formatScore(baseline)}, the score of {baseline_is}.
        {silent.length > 0 && ` No effect: ${silent.map((part) => part.label).join(", ")}.`}
      </p>
    </>
  );
}
