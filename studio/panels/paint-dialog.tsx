/** Painting what of the picture to start from is drawn anew: by mouse, pen, finger or keys. */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Point, Stroke } from "../mask.ts";
import type { StartImage, StartPicture } from "../start-picture.ts";
import { Painted } from "./painted.tsx";

/** Of the brush, as a share of the picture's shorter side. */
const sizes = { least: 0.02, usual: 0.15, most: 0.5 };

interface PaintDialogProps {
  readonly image: StartImage;
  readonly marks: StartPicture["marks"];
  close(): void;
}

const ways: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

export function PaintDialog({ image, marks, close }: PaintDialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const share = useSignal(sizes.usual);
  const isErasing = useSignal(false);
  const brush = share.value * Math.min(image.width, image.height);
  useEffect(() => dialog.current?.showModal(), []);
  const undo = (): void => {
    marks.value = marks.value.slice(0, -1);
  };
  return (
    <dialog
      ref={dialog}
      class="painting"
      aria-label="Paint what is drawn anew"
      onClose={close}
      onKeyDown={(event) => {
        event.stopPropagation(); // keys of the page: Escape closes this, and cancels no drawing
        if (event.key !== "z" || !(event.ctrlKey || event.metaKey)) return;
        event.preventDefault();
        undo();
      }}
    >
      <div class="row">
        <fieldset class="row" aria-label="What the brush does">
          {["Paint", "Erase"].map((name) => (
            <button
              type="button"
              key={name}
              aria-pressed={isErasing.value === (name === "Erase")}
              onClick={() => {
                isErasing.value = name === "Erase";
              }}
            >
              {name}
            </button>
          ))}
        </fieldset>
        <label class="brush-size">
          <span>Brush</span>
          <input
            type="range"
            min={sizes.least}
            max={sizes.most}
            step={0.01}
            value={share.value}
            onInput={(event) => {
              share.value = Number(event.currentTarget.value);
            }}
          />
        </label>
        <button type="button" disabled={marks.value.length === 0} onClick={undo}>
          Undo
        </button>
        <button
          type="button"
          disabled={marks.value.length === 0}
          onClick={() => {
            marks.value = [];
          }}
        >
          Clear
        </button>
        <button type="button" class="main" onClick={() => dialog.current?.close()}>
          Done
        </button>
      </div>
      <Easel image={image} marks={marks} brush={brush} isErasing={isErasing.value} />
      <p class="hint">
        What is painted is drawn anew, the rest stays.
        <span class="keyboard"> Keys: arrows move the brush, space paints, Ctrl Z takes back.</span>
      </p>
    </dialog>
  );
}

interface EaselProps {
  readonly image: StartImage;
  readonly marks: StartPicture["marks"];
  /** Its width in pixels of the picture. */
  readonly brush: number;
  readonly isErasing: boolean;
}

function Easel({ image, marks, brush, isErasing }: EaselProps) {
  const at = useSignal<Point>({ x: image.width / 2, y: image.height / 2 });
  const isDown = useRef(false);
  const begin = (): void => {
    const stroke: Stroke = { points: [at.value], width: brush, isErasing };
    marks.value = [...marks.value, stroke];
  };
  const extend = (): void => {
    const last = marks.value.at(-1);
    if (last === undefined || "mask" in last) return;
    marks.value = [...marks.value.slice(0, -1), { ...last, points: [...last.points, at.value] }];
  };
  const point = (event: PointerEvent): void => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    at.value = { x: x * image.width, y: y * image.height };
  };
  const lift = (): void => {
    isDown.current = false;
  };
  const move = ([dx, dy]: readonly [number, number]): void => {
    const within = (v: number, most: number): number => Math.min(Math.max(v, 0), most);
    const { x, y } = at.value;
    at.value = {
      x: within(x + (dx * brush) / 2, image.width),
      y: within(y + (dy * brush) / 2, image.height),
    };
  };
  return (
    <button
      type="button"
      class="frame easel"
      aria-label="Picture to paint on: drag over it, or move the brush with the arrow keys and press space"
      style={{ "--ratio": image.width / image.height }}
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        isDown.current = true;
        point(event);
        begin();
      }}
      onPointerMove={(event) => {
        point(event);
        if (isDown.current) extend();
      }}
      onPointerUp={lift}
      onPointerCancel={lift}
      onKeyDown={(event) => {
        const way = ways[event.key];
        if (way !== undefined) move(way);
        else if (event.key === " ") begin();
        else return;
        event.preventDefault();
      }}
    >
      <img src={image.url} alt="" draggable={false} />
      <Painted image={image} marks={marks} />
      <span
        class="brush"
        style={{
          left: `${(100 * at.value.x) / image.width}%`,
          top: `${(100 * at.value.y) / image.height}%`,
          width: `${(100 * brush) / image.width}%`,
        }}
      />
    </button>
  );
}
