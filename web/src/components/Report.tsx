import { useReport } from "../api/queries";
import { formatCount } from "../lib/format";
import { Failure } from "./Failure";
import { IntervalMark } from "./IntervalMark";

/** The comparison of the two variants over all answers, with a significance test. */
export function Report() {
  const report = useReport();
  if (report.error) return <Failure error={report.error} onRetry={() => void report.refetch()} />;
  if (!report.data)
    return (
      <p role="status" className="text-sm text-soft">
        Loading the report.
      </p>
    );
  const { variants, ties, sign_test_p, verdict } = report.data;
  const top = Math.max(...variants.map((one) => one.click_rate?.high ?? 0), 0.01);
  return (
    <div className="panel">
      <p className="px-4 pt-3 text-sm font-medium">{verdict}</p>
      <section className="overflow-x-auto" tabIndex={0} aria-label="Table of the experiment">
        <table className="w-full min-w-[38rem] text-sm">
          <thead>
            <tr className="border-b border-line text-left text-xs text-soft *:px-4 *:py-2 *:font-medium">
              <th>Variant</th>
              <th className="text-right">Exposures</th>
              <th className="text-right">Clicks</th>
              <th>Clicks per exposure, 95 %</th>
              <th aria-label="Interval" className="w-1/5" />
              <th className="text-right">Wins</th>
            </tr>
          </thead>
          <tbody className="divide-y divide-line">
            {variants.map(({ variant, description, exposures, clicks, click_rate, wins }) => (
              <tr key={variant} className="*:px-4 *:py-2">
                <th scope="row" className="text-left font-medium">
                  <span className={variant === "a" ? "text-variant-a" : "text-variant-b"}>{variant.toUpperCase()}</span>{" "}
                  {description}
                </th>
                <td className="text-right">{formatCount(exposures)}</td>
                <td className="text-right">{formatCount(clicks)}</td>
                <td className="whitespace-nowrap">
                  {click_rate ? (
                    <>
                      {click_rate.mean.toFixed(3)}{" "}
                      <span className="text-soft">
                        [{click_rate.low.toFixed(3)}, {click_rate.high.toFixed(3)}]
                      </span>
                    </>
                  ) : (
                    <span className="text-soft">not shown yet</span>
                  )}
                </td>
                <td>
                  {click_rate && (
                    <IntervalMark
                      interval={click_rate}
                      from={0}
                      to={top}
                      className={variant === "a" ? "bg-variant-a" : "bg-variant-b"}
                    />
                  )}
                </td>
                <td className="text-right font-semibold">{formatCount(wins)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      <p className="border-t border-line px-4 py-2 text-sm text-soft">
        {ties === 1 ? "1 tie" : `${formatCount(ties)} ties`}. Sign test of the wins:{" "}
        {sign_test_p === null ? (
          "none yet"
        ) : (
          <span className="figures">p = {sign_test_p.toFixed(3)}, two-sided, exact</span>
        )}
        .
      </p>
    </div>
  );
}
