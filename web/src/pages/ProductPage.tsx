import type { ReactNode } from "react";
import { Link, useParams } from "react-router";
import type { Schemas } from "../api/client";
import { useFeatures, useProduct, useSimilar } from "../api/queries";
import { Failure } from "../components/Failure";
import { Lineage } from "../components/Lineage";
import { Picture } from "../components/Picture";
import { SimilarList } from "../components/SimilarList";
import { attributeTitle, formatValue } from "../lib/attributes";
import { JUDGEMENTS } from "../lib/judgements";
import { address } from "../lib/searchState";
import { useSlow } from "../lib/useSlow";
import { useTitle } from "../lib/useTitle";
import { useView } from "../lib/useView";

const SIMILAR = 12;

export function ProductPage() {
  const { productId = "" } = useParams();
  const product = useProduct(productId);
  const similar = useSimilar(productId, SIMILAR);
  useTitle(product.data?.title ?? productId);
  useView(productId, product.data !== undefined);
  if (product.error) {
    return (
      <>
        <h1 className="mb-3 text-base">Product {productId}</h1>
        <Failure error={product.error} onRetry={() => void product.refetch()} />
        <p className="mt-3 text-sm">
          <Link to="/" className="link">
            Back to search
          </Link>
        </p>
      </>
    );
  }
  if (!product.data)
    return (
      <p role="status" className="text-sm text-soft">
        Loading the product.
      </p>
    );
  const { title, brand, color, image, description, bullet_points, attributes, judged_for, versions } = product.data;
  return (
    <>
      <div className="grid gap-x-8 gap-y-6 md:grid-cols-[16rem_1fr] xl:grid-cols-[20rem_1fr_20rem]">
        <div>
          <Picture src={image} alt={`Picture of ${title}`} className="aspect-square w-full max-md:max-w-64" eager />
          <p className="mt-3 flex flex-wrap gap-2">
            {image && (
              <Link to={address("/", { picture: image })} className="button">
                Search with this picture
              </Link>
            )}
            <Link to={address("/", { like: productId })} className="button">
              More like this
            </Link>
          </p>
        </div>
        <div className="min-w-0 space-y-6">
          <div>
            <h1 className="text-lg leading-snug" dir="auto">
              {title}
            </h1>
            <dl className="mt-3 grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-sm">
              <dt className="text-soft">Brand</dt>
              <dd>
                {brand ? (
                  <Link to={address("/", { query: brand, brand: [brand] })} className="link" dir="auto">
                    {brand}
                  </Link>
                ) : (
                  <Unknown />
                )}
              </dd>
              <dt className="text-soft">Colour</dt>
              <dd>{color ?? <Unknown />}</dd>
              <dt className="text-soft">Product</dt>
              <dd className="font-mono text-xs leading-[1.2rem]">{productId}</dd>
            </dl>
          </div>
          {description && (
            <p className="max-w-prose" dir="auto">
              {description}
            </p>
          )}
          {bullet_points && (
            <ul className="max-w-prose list-disc space-y-0.5 pl-5 text-sm">
              {bullet_points
                .split("\n")
                .filter((point) => point.trim())
                .map((point) => (
                  <li key={point} dir="auto">
                    {point}
                  </li>
                ))}
            </ul>
          )}
          <Attributes attributes={attributes ?? []} />
          <Judged queries={judged_for} />
        </div>
        <section aria-label="Features and lineage" className="space-y-4 max-xl:md:col-start-2">
          <Box title="Features in the online store">
            <Features productId={productId} />
          </Box>
          <Box title="Lineage">
            <Lineage versions={versions} />
          </Box>
        </section>
      </div>
      <section className="mt-8">
        <h2 className="mb-3 text-base">Similar products</h2>
        <SimilarList query={similar} />
      </section>
    </>
  );
}

function Attributes({ attributes }: { attributes: Schemas["ProductAttribute"][] }) {
  if (attributes.length === 0) return null;
  return (
    <section>
      <h2 className="mb-2 text-base">Details</h2>
      <dl className="grid max-w-prose grid-cols-[auto_1fr] gap-x-4 gap-y-0.5 text-sm">
        {attributes.map(({ name, value, unit }) => (
          <div key={name} className="contents">
            <dt className="text-soft">{attributeTitle(name)}</dt>
            <dd className="min-w-0 break-words" dir="auto">
              {formatValue(value, unit)}
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function Unknown() {
  return <span className="text-soft">not known</span>;
}

function Box({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="panel p-4">
      <h2 className="eyebrow mb-2">{title}</h2>
      {children}
    </section>
  );
}

function Judged({ queries }: { queries: Schemas["JudgedQuery"][] }) {
  if (queries.length === 0) return <p className="text-sm text-soft">There are no judgements of this product.</p>;
  return (
    <section>
      <h2 className="mb-2 text-base">Judged queries</h2>
      <ul className="space-y-1 text-sm">
        {JUDGEMENTS.flatMap(({ label, word, fill }) =>
          queries
            .filter((query) => query.label === label)
            .map((query) => (
              <li key={`${query.query_id}`} className="flex gap-3">
                <span className="flex w-24 shrink-0 items-center gap-1.5 text-soft">
                  <span aria-hidden className={`graphic size-2.5 rounded-sm ${fill}`} />
                  {word}
                </span>
                <Link to={address("/", { query: query.query })} className="link min-h-6 min-w-6" dir="auto">
                  {query.query}
                </Link>
              </li>
            )),
        )}
      </ul>
    </section>
  );
}

function Features({ productId }: { productId: string }) {
  const features = useFeatures(productId);
  const slow = useSlow(features.isFetching);
  if (features.error) return <Failure error={features.error} onRetry={() => void features.refetch()} />;
  if (!features.data) {
    return (
      <p role="status" className="text-sm text-soft">
        Loading the features.{slow && " The first look-up opens the feature store, which takes a while."}
      </p>
    );
  }
  const { feature_service, has_image, product_text_vec, product_image_vec } = features.data;
  return (
    <dl className="space-y-2 text-sm">
      <Vector name="product_text_vec" values={product_text_vec} />
      <Vector name="product_image_vec" values={product_image_vec} />
      <div className="flex justify-between gap-4">
        <dt className="text-soft">has_image</dt>
        <dd>{has_image ? "yes" : "no"}</dd>
      </div>
      <div className="flex justify-between gap-4">
        <dt className="text-soft">service</dt>
        <dd className="font-mono text-xs leading-[1.2rem]">{feature_service}</dd>
      </div>
    </dl>
  );
}

const STRIPES = 96;

/** A vector as stripes: means of the absolute values of equal parts; larger values are darker. */
function Vector({ name, values }: { name: string; values: number[] | null }) {
  if (!values || values.length === 0) {
    return (
      <div className="flex justify-between gap-4">
        <dt className="text-soft">{name}</dt>
        <dd className="text-soft">none</dd>
      </div>
    );
  }
  const width = Math.max(1, Math.ceil(values.length / STRIPES));
  const stripes = Array.from({ length: Math.ceil(values.length / width) }, (_, place) => {
    const part = values.slice(place * width, (place + 1) * width);
    return part.reduce((sum, value) => sum + Math.abs(value), 0) / part.length;
  });
  const most = Math.max(...stripes, Number.MIN_VALUE);
  const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return (
    <div className="grid grid-cols-[auto_1fr] gap-x-4">
      <dt className="text-soft">{name}</dt>
      <dd className="figures text-right">
        {values.length} numbers, norm {norm.toFixed(2)}
      </dd>
      <dd aria-hidden className="col-span-2 mt-1 flex h-3 overflow-hidden rounded-sm bg-sunken">
        {stripes.map((stripe, place) => (
          <span key={place} className="graphic flex-1 bg-accent" style={{ opacity: stripe / most }} />
        ))}
      </dd>
    </div>
  );
}
