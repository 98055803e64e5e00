/** What was drawn before: search, favourites, and each picture's way back into the form. */

import type { Drawing } from "../engines.ts";
import type { Studio } from "../state.ts";

export function Gallery({ studio }: { readonly studio: Studio }) {
  const { drawings, isMore, search, onlyFavourites } = studio;
  const isFiltered = search.value !== "" || onlyFavourites.value;
  return (
    <section class="card gallery" aria-label="Gallery">
      <div class="row">
        <label class="grow">
          <span class="sr">Search the gallery</span>
          <input
            type="search"
            placeholder="Search prompts"
            value={search.value}
            onInput={(event) => {
              search.value = event.currentTarget.value;
              void studio.refresh();
            }}
          />
        </label>
        <label class="check">
          <input
            type="checkbox"
            checked={onlyFavourites.value}
            onChange={(event) => {
              onlyFavourites.value = event.currentTarget.checked;
              void studio.refresh();
            }}
          />{" "}
          Favourites
        </label>
      </div>
      {drawings.value.length === 0 ? (
        <p class="empty">
          {isFiltered ? "Nothing matches. Clear the search to see all." : "Pictures that you draw stay here."}
        </p>
      ) : (
        <ul class="tiles">
          {drawings.value.map((drawing) => (
            <Tile key={drawing.id} drawing={drawing} studio={studio} />
          ))}
        </ul>
      )}
      {isMore.value && (
        <button type="button" onClick={() => void studio.showMore()}>
          Show older ones
        </button>
      )}
    </section>
  );
}

function Tile({ drawing, studio }: { readonly drawing: Drawing; readonly studio: Studio }) {
  const { request, url, isFavourite } = drawing;
  const { engine, current } = studio;
  return (
    <li>
      <button
        type="button"
        class="tile"
        aria-pressed={current.value?.id === drawing.id}
        title={`${request.prompt} · seed ${request.seed}`}
        onClick={() => {
          current.value = drawing;
        }}
      >
        <img src={url} alt={request.prompt} loading="lazy" width={request.width} height={request.height} />
      </button>
      <span class="tools">
        <button
          type="button"
          aria-label={isFavourite ? "No favourite any more" : "Favourite"}
          aria-pressed={isFavourite}
          onClick={() => void studio.change(engine.history.setFavourite(drawing, !isFavourite))}
        >
          {isFavourite ? "★" : "☆"}
        </button>
        <button
          type="button"
          aria-label="Start from this"
          title="Start from this"
          onClick={() => void studio.startFrom(drawing)}
        >
          ✎
        </button>
        <button
          type="button"
          aria-label="Remove"
          onClick={() => {
            if (current.value?.id === drawing.id) current.value = null;
            void studio.change(engine.history.remove(drawing));
          }}
        >
          ✕
        </button>
      </span>
    </li>
  );
}
