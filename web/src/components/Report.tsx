import { useReport } from "../api/queries";
import { formatCount } from "../lib/format";
import { Failure } from "./Failure";
import { IntervalMark } from "./IntervalMark";
import { ScrollTable } from "./ScrollTable";

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
  const { variants, ties, undecided_clients, not_counted, sign_test_p, test, verdict } = report.data;
  const top = Math.max(...variants.map((one) => one.click_rate?.high ?? 0), 0.01);
  return (
    <div className="panel">
      <p className="px-4 pt-3 text-sm font-medium">{verdict}</p>
      <ScrollTable label="Table of the experiment">
        <table className="w-full min-w-[42rem] text-sm">
          <thead>
            <tr className="border-b border-line text-left text-xs text-soft *:px-4 *:py-2 *:font-medium">
              <th>Variant</th>
              <th className="text-right">Shown</th>
              <th className="text-right">Clicks</th>
              <th>Answers with a click, 95 %</th>
              <th className="w-1/5">
                <span className="sr-only">Interval</span>
              </th>
              <th className="text-right">Queries won</th>
              <th className="text-right">Clients</th>
            </tr>
          </thead>
          <tbody className="divide-y divide-line">
            {variants.map(({ variant, description, exposures, clicks, click_rate, wins, clients }) => (
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
                <td className="text-right">{formatCount(wins)}</td>
                <td className="text-right font-semibold">{formatCount(clients)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </ScrollTable>
      <div className="space-y-1 border-t border-line px-4 py-2 text-sm text-soft">
        <p>
          {ties === 1 ? "1 query is" : `${formatCount(ties)} queries are`} undecided,{" "}
          {undecided_clients === 1 ? "1 client is" : `${formatCount(undecided_clients)} clients are`} undecided;{" "}
          {not_counted === 1 ? "1 vote does" : `${formatCount(not_counted)} votes do`} not count. Sign test on clients:{" "}
          {sign_test_p === null ? "none yet" : <span className="figures">p = {sign_test_p.toFixed(3)}</span>}.
        </p>
        <p className="max-w-prose">{test}</p>
      </div>
    </div>
  );
}
