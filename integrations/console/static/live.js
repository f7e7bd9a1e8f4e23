// Live: one stream of events for the whole page, while the page is seen. A browser opens only six connections to one
// place: a console in a background tab must not hold one.

const AGAIN_MS = 5000;

/** Tells `job` ({id, status, priority, ...}), `reset` (look at everything anew), and `state`. */
export class Live extends EventTarget {
  #source = null;
  #timer = 0;
  #isWanted = false;
  #wasOpen = false;
  state = "off";

  start() {
    this.#isWanted = true;
    document.addEventListener("visibilitychange", this.#seen);
    this.#seen();
  }

  stop() {
    this.#isWanted = false;
    this.#wasOpen = false;
    document.removeEventListener("visibilitychange", this.#seen);
    this.#close("off");
  }

  #seen = () => {
    if (document.visibilityState === "hidden") this.#close("paused");
    else if (this.#isWanted && !this.#source) this.#open();
  };

  #open() {
    clearTimeout(this.#timer);
    const source = (this.#source = new EventSource("/v1/events"));
    source.addEventListener("open", () => {
      this.#tell("live");
      if (this.#wasOpen && !source.lastId) this.dispatchEvent(new Event("reset"));
      this.#wasOpen = true;
    });
    source.addEventListener("job", (event) => {
      source.lastId = event.lastEventId;
      this.dispatchEvent(new CustomEvent("job", { detail: JSON.parse(event.data) }));
    });
    source.addEventListener("reset", () => this.dispatchEvent(new Event("reset")));
    source.addEventListener("error", () => this.#failed(source));
  }

  #failed(source) {
    this.#tell("connecting");
    if (source.readyState !== EventSource.CLOSED) return; // it comes back by itself, and says what it heard last
    this.#close("connecting");
    this.dispatchEvent(new Event("refused"));
    this.#timer = setTimeout(this.#seen, AGAIN_MS);
  }

  #close(state) {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
    this.#tell(state);
  }

  #tell(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
