// Times: moments of the server become what people read: ages, due times, the clock on the wall.

let skew = 0;

/** The server's own time, whenever it says it: this machine's clock may be wrong. */
export function heardTime(at) {
  skew = Date.parse(at) - Date.now();
}

export function serverNow() {
  return Date.now() + skew;
}

/** `48 s`, `12 min`, `3 h 05`, `4 d` */
export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 36 * 3600) return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")}`;
  return `${Math.floor(s / 86400)} d`;
}

/** `in 20 min`, `12 min late` */
export function due(at) {
  if (!at) return "";
  const seconds = (Date.parse(at) - serverNow()) / 1000;
  return seconds >= 0 ? `in ${span(seconds)}` : `${span(-seconds)} late`;
}

export function isLate(at) {
  return Boolean(at) && Date.parse(at) < serverNow();
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit",
});

/** The time of day; of another day, the day too. */
export function clock(at) {
  const moment = new Date(at);
  const isToday = new Date(serverNow()).toDateString() === moment.toDateString();
  return (isToday ? TIME : DAY).format(moment);
}

/** What an `<input type="datetime-local">` holds, as the API takes it. */
export function instant(local) {
  return new Date(local).toISOString();
}
