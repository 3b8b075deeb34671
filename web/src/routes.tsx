import { createBrowserRouter, type RouteObject } from "react-router";
import { Layout } from "./components/Layout";
import { PageError } from "./components/PageError";
import { ComparePage } from "./pages/ComparePage";
import { ModelsPage } from "./pages/ModelsPage";
import { MonitoringPage } from "./pages/MonitoringPage";
import { NotFoundPage } from "./pages/NotFoundPage";
import { ProductPage } from "./pages/ProductPage";
import { SearchPage } from "./pages/SearchPage";

export const routes: RouteObject[] = [
  {
    element: <Layout />,
    children: [
      {
        errorElement: <PageError />,
        children: [
          { path: "/", element: <SearchPage /> },
          { path: "/p/:productId", element: <ProductPage /> },
          { path: "/compare", element: <ComparePage /> },
          { path: "/models", element: <ModelsPage /> },
          { path: "/monitoring", element: <MonitoringPage /> },
          { path: "*", element: <NotFoundPage /> },
        ],
      },
    ],
  },
];

export function newRouter() {
  return createBrowserRouter(routes, { basename: import.meta.env.BASE_URL });
}
