import { useEffect, useRef } from "react";
import { Link, NavLink, Outlet, ScrollRestoration, useLocation } from "react-router";
import { useFacets, useReady } from "../api/queries";
import icon from "../icon.svg";
import { KeyHelp } from "./KeyHelp";
import { ThemeButton } from "./ThemeButton";

const PAGES = [
  { to: "/", text: "Search" },
  { to: "/compare", text: "Compare" },
  { to: "/models", text: "Models" },
  { to: "/monitoring", text: "Monitoring" },
];

export function Layout() {
  const { pathname } = useLocation();
  const main = useRef<HTMLElement>(null);
  const last = useRef(pathname);
  useEffect(() => {
    // Move the focus to the content of a new page, but not on the first page.
    if (last.current !== pathname) main.current?.focus({ preventScroll: true });
    last.current = pathname;
  }, [pathname]);
  return (
    <>
      <a href="#main" className="button absolute top-2 left-2 z-30 -translate-y-20 focus:translate-y-0">
        Skip to content
      </a>
      <header className="border-b border-line bg-surface">
        <div className="mx-auto flex max-w-[88rem] flex-wrap items-center gap-x-5 gap-y-1 px-4 py-2">
          <Link to="/" className="flex items-center gap-2 rounded-sm font-semibold tracking-tight">
            <img src={icon} alt="" width="24" height="24" />
            sqidflow
          </Link>
          <nav aria-label="Pages" className="flex gap-1 max-sm:order-3 max-sm:-ml-2.5">
            {PAGES.map(({ to, text }) => (
              <NavLink
                key={to}
                to={to}
                end={to === "/"}
                className={({ isActive }) =>
                  `rounded-md px-2.5 py-1 text-sm font-medium ${isActive ? "bg-accent-soft text-accent" : "text-soft hover:text-ink"}`
                }
              >
                {text}
              </NavLink>
            ))}
          </nav>
          <SampleMark />
          <div className="ml-auto flex items-center gap-1">
            <ServiceState />
            <KeyHelp />
            <ThemeButton />
          </div>
        </div>
      </header>
      <main ref={main} id="main" tabIndex={-1} className="mx-auto max-w-[88rem] px-4 pt-4 pb-10">
        <Outlet />
      </main>
      <ScrollRestoration />
    </>
  );
}

function ServiceState() {
  const ready = useReady();
  const [dot, text] = ready.isPending
    ? ["bg-irrelevant", "Connecting"]
    : ready.error
      ? ["bg-bad-ink", "Service not responding"]
      : ready.data.status === "ok"
        ? ["bg-exact", "Service ready"]
        : ["bg-complement", "Service is starting"];
  return (
    <span role="status" className="flex items-center gap-1.5 px-1 text-xs text-soft">
      <span aria-hidden className={`graphic size-2 rounded-full ${dot}`} />
      <span className="max-sm:sr-only">{text}</span>
    </span>
  );
}

/** Marks every page if the catalogue is synthetic. */
function SampleMark() {
  const { data } = useFacets();
  if (!data?.synthetic) return null;
  return (
    <span
      className="rounded-sm bg-warn px-1.5 py-0.5 text-xs font-medium text-warn-ink max-sm:order-4"
      title="Products, pictures and judgements of this catalogue are invented."
    >
      synthetic sample
    </span>
  );
}
