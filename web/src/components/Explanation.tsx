import type { Schemas } from "../api/client";
import { formatSigned } from "../lib/format";

/** The parts of a score, each as a bar from a middle line: to the right it raises the score, to the left it lowers it. */
export function Explanation({ parts }: { parts: Schemas["ScorePart"][] }) {
  const most = Math.max(...parts.map((part) => Math.abs(part.contribution)), 1e-9);
  if (parts.length === 0) return <p className="text-sm text-soft">The model names no parts of this score.</p>;
  return (
    <table className="w-full max-w-2xl text-sm">
      <caption className="sr-only">Parts of the score: how much it would fall without each</caption>
      <thead>
        <tr className="text-left text-xs text-soft">
          <th className="py-1 pr-3 font-medium">Part</th>
          <th className="py-1 pr-3 text-right font-medium max-sm:hidden">Value</th>
          <th className="w-2/5 py-1 font-medium"><span className="sr-only">Bar</span></th>
          <th className="py-1 pl-3 text-right font-medium">In the score</th>
        </tr>
      </thead>
      <tbody>
        {parts.map((part) => {
          const width = `${(50 * Math.abs(part.contribution)) / most}%`;
          return (
            <tr key={part.name} className="border-t border-line">
              <td className="py-1 pr-3" title={part.name}>{part.label}</td>
              <td className="py-1 pr-3 text-right text-soft max-sm:hidden">{part.value.toFixed(2)}</td>
              <td className="py-1">
                <span aria-hidden className="relative block h-2.5 bg-sunken">
                  <span className={`absolute inset-y-0 ${part.contribution < 0 ? "right-1/2 bg-complement" : "left-1/2 bg-exact"}`} style={{ width }} />
                  <span className="absolute inset-y-0 left-1/2 w-px bg-edge" />
                </span>
              </td>
              <td className="py-1 pl-3 text-right">{formatSigned(part.contribution)}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
