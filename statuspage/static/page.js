// Keeps the page as the service says it is: takes one picture, then changes, from
// the stream of events, and lets the tiles of jobs that move fly to their nodes.
const $ = id => document.getElementById(id);
const board = $("board"), nowhere = $("nowhere"), query = $("q"), calm = matchMedia("(prefers-reduced-motion: reduce)");
const states = ["running", "failed", "stopping", "stuck", "waiting", "done"];

let nodes = new Map(); // by ID, in the order of the columns
let self = "";
let silence = {}, heardAt = 0; // of nodes, in ms, and when we were told, by our clock
let store = {state: "unknown", silence_ms: 0};
let skew = 0; // the service's clock less ours
let moves = [], unsaid = 0, saidAt = 0;
const jobs = new Map(); // by name: {job, tile, column, shown}
let state = new URLSearchParams(location.search).get("state") || "";
let filter = query.value.toLowerCase();
let current = null, detailed = null; // jobs: that the keyboard is on, whose detail is open

// Elements.

function element(tag, properties, ...children) {
	const e = Object.assign(document.createElement(tag), properties);
	e.append(...children);
	return e;
}

const columns = new Map(); // by node ID, "" for nowhere
columns.set("", {section: nowhere, tiles: nowhere.querySelector(".tiles"), count: nowhere.querySelector(".count")});
let snapshot = true; // the tiles are those that came with the page

function makeColumn(id) {
	const c = {
		name: element("span", {className: "name"}), count: element("b", {className: "count"}), facts: element("p", {className: "facts"}),
		heart: element("span", {className: "heart"}), summary: element("summary"), list: element("dl"), tiles: element("ul", {className: "tiles"}),
	};
	c.section = element("section", {className: "column"},
		element("header", {}, element("h2", {}, c.name, " ", c.count), c.facts, element("details", {}, c.summary, c.list)), c.tiles);
	c.section.dataset.node = id;
	return c;
}

function fillColumn(c, n) {
	c.section.className = "column c" + n.color;
	c.section.toggleAttribute("data-gone", n.gone);
	c.section.setAttribute("aria-label", n.instance);
	c.name.textContent = c.name.title = n.instance;
	const facts = [];
	if (n.id === self) facts.push(element("span", {className: "badge", textContent: "this node"}));
	if (n.draining && !n.gone) facts.push(element("span", {className: "badge warn", textContent: "draining"}));
	facts.push(n.gone ? element("span", {className: "badge warn", textContent: "gone"}) : c.heart);
	if (n.standby) facts.push(element("span", {textContent: "stands by for " + n.standby.toLocaleString("en")}));
	c.facts.replaceChildren(...facts);
	c.summary.textContent = n.version || "details";
	const rows = [["lease", n.id]];
	if (n.started) rows.push(["started", new Date(n.started).toLocaleString()]);
	if (n.capacity) rows.push(["at most", n.capacity + " jobs"]);
	for (const facts of [n.labels, n.metadata]) rows.push(...Object.entries(facts || {}).sort());
	c.list.replaceChildren(...rows.flatMap(([k, v]) => [element("dt", {textContent: k}), element("dd", {textContent: v})]));
}

function placeColumns() {
	for (const [id, c] of columns) {
		if (id && !nodes.has(id)) {
			c.section.remove();
			columns.delete(id);
		}
	}
	let i = 0;
	for (const [id, n] of nodes) {
		if (!columns.has(id)) columns.set(id, makeColumn(id));
		const c = columns.get(id);
		fillColumn(c, n);
		if (board.children[i] !== c.section) board.insertBefore(c.section, board.children[i] || null);
		i++;
	}
	while (board.children.length > i) board.lastChild.remove();
	if (!i) board.append(element("p", {className: "note", textContent: "No node is there."}));
}

// Time.

const now = () => Date.now() + skew;

function duration(ms) {
	const s = Math.max(0, Math.floor(ms / 1000));
	if (s < 60) return s + " s";
	if (s < 3600) return Math.floor(s / 60) + " min " + s % 60 + " s";
	if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
	return Math.floor(s / 86400) + " d " + Math.floor(s % 86400 / 3600) + " h";
}

const clock = t => new Date(t).toLocaleTimeString([], {hour12: false});

// Tiles. What they hold depends on how many there are to show.

let density = "";

function densityFor(n) {
	return n <= 240 ? "full" : n <= 1500 ? "compact" : "dots";
}

function fillTile(e) {
	const {job, tile} = e;
	tile.dataset.state = job.state;
	if (density === "dots") {
		tile.replaceChildren();
		return;
	}
	if (!tile.firstChild) tile.append(element("span", {className: "name"}), element("span", {className: "meta"}));
	tile.firstChild.textContent = job.name;
	if (density === "full") ageTile(e);
	else tile.lastChild.textContent = "";
}

function ageTile({job, tile}) {
	const words = [];
	if (job.state !== "running") words.push(job.state);
	if (job.since) words.push(duration(now() - Date.parse(job.since)));
	else if (job.state === "running") words.push("running");
	if (job.failures) words.push("failed × " + job.failures);
	if (job.lacks) words.push("not on all nodes");
	if (job.token) words.push("#" + job.token);
	const text = words.join(" · ");
	if (tile.lastChild.textContent !== text) tile.lastChild.textContent = text;
}

function sentence(job) {
	const where = nodes.has(job.node) ? " on " + nodes.get(job.node).instance : "";
	const since = job.since ? ", since " + new Date(job.since).toLocaleString() + " (" + duration(now() - Date.parse(job.since)) + ")" : "";
	return job.state + where + since + (job.token ? ", token " + job.token : "") + (job.standby ? ", " + job.standby + " waiting for it" : "");
}

// columnOf is where a job's tile belongs: a node that nobody knows is nowhere.
const columnOf = job => columns.has(job.node) ? job.node : "";

function matches(job) {
	if (state && job.state !== state) return false;
	if (!filter) return true;
	const n = nodes.get(job.node);
	return job.name.toLowerCase().includes(filter) || Boolean(n && n.instance.toLowerCase().includes(filter));
}

// Names are compared by code unit, as tiles are found by it.
const before = (a, b) => a < b;

// place puts a tile where it belongs among its column's, which are sorted by name.
function place(e) {
	const list = columns.get(e.column).tiles, tiles = list.children;
	let low = 0, high = tiles.length;
	while (low < high) {
		const mid = (low + high) >> 1;
		if (before(tiles[mid].entry.job.name, e.job.name)) low = mid + 1;
		else high = mid;
	}
	list.insertBefore(e.tile, tiles[low] || null);
}

function makeEntry(job) {
	const tile = element("li", {className: "tile", tabIndex: -1});
	const e = {job, tile, column: columnOf(job)};
	tile.entry = e;
	return e;
}

// show makes tiles be seen or not, and sets how much room there is for each.
function show() {
	let shown = 0;
	for (const e of jobs.values()) {
		const hide = !matches(e.job);
		if (e.tile.hidden !== hide) e.tile.hidden = hide;
		if (!hide) shown++;
	}
	const d = densityFor(shown);
	for (const e of [board, nowhere]) e.toggleAttribute("data-many", shown > 4000);
	if (d !== density) {
		density = d;
		board.dataset.density = nowhere.dataset.density = d;
		for (const e of jobs.values()) fillTile(e);
	}
	count(shown);
}

function count(shown) {
	const all = {"": jobs.size}, total = new Map(), seen = new Map();
	for (const {job, tile, column} of jobs.values()) {
		all[job.state] = (all[job.state] || 0) + 1;
		total.set(column, (total.get(column) || 0) + 1);
		if (!tile.hidden) seen.set(column, (seen.get(column) || 0) + 1);
	}
	for (const a of $("states").children) {
		const n = all[a.dataset.state] || 0;
		a.firstChild.textContent = n.toLocaleString("en");
		a.toggleAttribute("data-alarm", n > 0 && ["failed", "stopping", "stuck", "waiting"].includes(a.dataset.state));
	}
	for (const [id, c] of columns) {
		const t = total.get(id) || 0, s = seen.get(id) || 0;
		c.count.textContent = (s === t ? "" : s.toLocaleString("en") + " of ") + t.toLocaleString("en");
	}
	nowhere.toggleAttribute("data-any", total.has(""));
	$("matches").hidden = shown === jobs.size;
	$("matches").textContent = shown.toLocaleString("en") + " of " + jobs.size.toLocaleString("en") + " jobs match.";
	if (!current || current.tile.hidden || !current.tile.isConnected) setCurrent(visible()[0]);
}

// Animation: first, last, invert, play.

const few = 400; // tiles that are worth moving aside one by one

function remember(changed) {
	if (calm.matches || document.hidden) return null;
	const tiles = jobs.size <= few ? [...jobs.values()].map(e => e.tile) : [...changed].slice(0, few).map(e => e.tile);
	const places = new Map();
	for (const tile of tiles) if (!tile.hidden && tile.isConnected) places.set(tile, tile.getBoundingClientRect());
	return places;
}

function play(places, moved) {
	if (places) {
		const steps = [];
		for (const [tile, from] of places) {
			if (tile.hidden || !tile.isConnected) continue;
			for (const a of tile.getAnimations()) if (a.id === "fly") a.cancel();
			const to = tile.getBoundingClientRect();
			if (to.left !== from.left || to.top !== from.top) steps.push([tile, from.left - to.left, from.top - to.top]);
		}
		for (const [tile, x, y] of steps) {
			const far = moved.has(tile.entry);
			const a = tile.animate([{transform: `translate(${x}px, ${y}px)`}, {transform: "none"}],
				{id: "fly", duration: far ? 650 : 350, easing: "cubic-bezier(.3, .8, .3, 1)"});
			if (!far) continue;
			tile.classList.add("moving");
			a.onfinish = a.oncancel = () => tile.classList.remove("moving");
		}
	}
	for (const {tile} of moved) {
		tile.classList.remove("arrived");
		tile.classList.add("arrived");
		clearTimeout(tile.timer);
		tile.timer = setTimeout(() => tile.classList.remove("arrived"), 2600);
	}
}

// What the service says.

function takePicture(p) {
	const changed = [], gone = new Set(jobs.keys());
	for (const job of p.jobs) {
		gone.delete(job.name);
		const e = jobs.get(job.name);
		if (!e || !same(e.job, job)) changed.push(job);
	}
	document.title = p.title;
	skew = Date.parse(p.at) - Date.now();
	moves = [];
	if (snapshot) {
		board.replaceChildren();
		columns.get("").tiles.replaceChildren();
		snapshot = false;
	}
	take({nodes: p.nodes, self: p.self, jobs: changed, gone: [...gone], moves: p.moves, stuck: p.stuck}, true);
	takeBeat({at: p.at, store: p.store, silence_ms: Object.fromEntries(p.nodes.map(n => [n.id, n.silence_ms]))});
}

const same = (a, b) => Object.keys(b).every(k => a[k] === b[k]);

function take(c, whole) {
	const changed = (c.jobs || []).map(job => jobs.get(job.name)).filter(Boolean);
	const places = remember(changed);
	if (c.self !== undefined) self = c.self;
	if (c.nodes) {
		nodes = new Map(c.nodes.map(n => [n.id, n]));
		const orphans = new Set([...columns.keys()].filter(id => id && !nodes.has(id)));
		placeColumns();
		if (orphans.size) for (const e of jobs.values()) if (orphans.has(e.column)) e.column = null;
	}
	const moved = new Set(), fresh = new Set();
	for (const name of c.gone || []) {
		jobs.get(name)?.tile.remove();
		jobs.delete(name);
	}
	for (const job of c.jobs || []) {
		const e = jobs.get(job.name);
		if (!e) {
			const made = makeEntry(job);
			jobs.set(job.name, made);
			fillTile(made);
			fresh.add(made);
			continue;
		}
		e.job = job;
		fillTile(e);
	}
	for (const e of c.nodes ? jobs.values() : changed) {
		const column = columnOf(e.job);
		if (fresh.has(e) || e.column === column) continue;
		moved.add(e);
		e.column = column;
		place(e);
	}
	placeFresh(fresh);
	if (c.moves) takeMoves(c.moves, whole);
	if (c.stuck) takeStuck(c.stuck);
	show();
	play(places, moved);
	drawDetail();
}

// placeFresh appends new tiles in bulk, in order: there may be thousands.
function placeFresh(fresh) {
	const lists = new Map();
	for (const e of fresh) {
		if (!lists.has(e.column)) lists.set(e.column, []);
		lists.get(e.column).push(e);
	}
	for (const [column, entries] of lists) {
		const list = columns.get(column).tiles;
		if (list.firstChild) {
			entries.forEach(place);
			continue;
		}
		entries.sort((a, b) => before(a.job.name, b.job.name) ? -1 : 1);
		list.replaceChildren(...entries.map(e => e.tile));
	}
}

function gap(m) {
	if (m.gap_ms === null) return "?";
	const ms = m.gap_ms < 1 ? "< 1" : Math.round(m.gap_ms).toLocaleString("en");
	return (m.lost ? "≈ " : "") + ms + " ms";
}

function takeMoves(more, whole) {
	moves = moves.concat(more).slice(-100);
	if (!whole) unsaid += more.length;
	const rows = moves.toReversed().map(m => element("tr", {},
		element("td", {}, element("time", {dateTime: m.at, textContent: clock(m.at)})),
		...[m.job, trip(m)].map(s => element("td", {textContent: s, title: s})),
		element("td", {className: "number", textContent: gap(m)})));
	if (!rows.length) rows.push(element("tr", {className: "none"}, element("td", {colSpan: 4, textContent: "Nothing has moved since this page began to look."})));
	$("moves").replaceChildren(...rows);
}

// A leader that is no node of ours has no name: a plain election of etcd's, say.
const trip = m => (m.from || "elsewhere") + " → " + (m.to || "elsewhere");

function takeStuck(list) {
	$("stuck").hidden = !list.length;
	$("stuck").querySelector("ul").replaceChildren(...list.slice(0, 20).map(s =>
		element("li", {}, element("b", {textContent: s.job}), ` since ${clock(s.since)}, token ${s.token}: ${s.cause}`)));
}

function takeBeat(b) {
	skew = Date.parse(b.at) - Date.now();
	store = b.store;
	silence = b.silence_ms;
	heardAt = Date.now();
	say();
	tick();
}

// say tells a screen reader what has happened, every ten seconds at most.
function say() {
	if (!unsaid || Date.now() - saidAt < 10000) return;
	let running = 0;
	for (const {job} of jobs.values()) if (job.state === "running") running++;
	$("say").textContent = `${unsaid} ${unsaid === 1 ? "job" : "jobs"} moved. ${running} of ${jobs.size} run.`;
	unsaid = 0;
	saidAt = Date.now();
}

// tick lets ages grow.
function tick() {
	const late = heardAt ? Date.now() - heardAt : 0, s = n => (n / 1000).toFixed(1) + " s";
	$("store").dataset.state = store.state;
	$("store").textContent = store.state === "reachable" ? `store heard ${s(store.silence_ms + late)} ago`
		: store.state === "away" ? `store silent for ${s(store.silence_ms + late)}` : "no node is there";
	for (const [id, c] of columns) {
		if (!c.heart || !(id in silence)) continue;
		c.heart.textContent = `heard ${s(silence[id] + late)} ago`;
		c.heart.toggleAttribute("data-late", silence[id] > 10000);
	}
	if (density === "full") for (const e of jobs.values()) if (!e.tile.hidden) ageTile(e);
}
setInterval(tick, 1000);

// The stream. A browser connects again by itself after some failures, and not
// after others; so we do it, and also when nothing has come for too long.

let stream, pause = 500, watchdog;

function connect() {
	stream = new EventSource("events");
	const on = (name, f) => stream.addEventListener(name, event => {
		pause = 500;
		link("live", "live");
		watch();
		f(JSON.parse(event.data));
	});
	on("picture", takePicture);
	on("change", c => take(c, false));
	on("beat", takeBeat);
	stream.onerror = again;
	watch();
}

function watch() {
	clearTimeout(watchdog);
	watchdog = setTimeout(again, 8000);
}

function again() {
	stream.close();
	clearTimeout(watchdog);
	link("reconnecting", heardAt ? `reconnecting, as of ${clock(heardAt + skew)}` : "connecting");
	setTimeout(connect, pause * (.75 + Math.random() / 2));
	pause = Math.min(2 * pause, 8000);
}

function link(state, text) {
	$("link").dataset.state = state;
	if ($("link").textContent !== text) $("link").textContent = text;
}

addEventListener("pagehide", () => { stream.close(); clearTimeout(watchdog); });
addEventListener("pageshow", event => { if (event.persisted) connect(); });

// The reader.

function setFilter() {
	filter = query.value.toLowerCase();
	const parameters = new URLSearchParams();
	if (query.value) parameters.set("q", query.value);
	if (state) parameters.set("state", state);
	history.replaceState(null, "", parameters.size ? "?" + parameters : location.pathname);
	for (const a of $("states").children) {
		if (a.dataset.state === state) a.setAttribute("aria-current", "true");
		else a.removeAttribute("aria-current");
	}
	show();
}

let typing;
query.addEventListener("input", () => {
	clearTimeout(typing);
	typing = setTimeout(setFilter, jobs.size > 2000 ? 150 : 0);
});
query.form.addEventListener("submit", event => { event.preventDefault(); setFilter(); });
$("states").addEventListener("click", event => {
	const a = event.target.closest("a");
	if (!a || event.ctrlKey || event.metaKey || event.shiftKey) return;
	event.preventDefault();
	state = a.dataset.state;
	setFilter();
});
addEventListener("keydown", event => {
	if (event.key === "Escape" && detailed) openDetail(null);
	else if (event.key === "Escape" && document.activeElement === query && query.value) { query.value = ""; setFilter(); }
	else if (event.key === "/" && document.activeElement !== query) { event.preventDefault(); query.focus(); }
});

// One tile can be reached with Tab; the arrows go on from there.

function visible() {
	return [...document.querySelectorAll(".tile:not([hidden])")].filter(t => t.entry).map(t => t.entry);
}

function setCurrent(e) {
	if (current) current.tile.tabIndex = -1;
	current = e || null;
	if (current) current.tile.tabIndex = 0;
}

const steps = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity};
$("nowhere").parentNode.addEventListener("keydown", event => {
	const e = event.target.entry;
	if (!e) return;
	if (event.key === "Enter" || event.key === " ") {
		event.preventDefault();
		openDetail(e);
		return;
	}
	if (!(event.key in steps)) return;
	event.preventDefault();
	const all = visible(), i = all.indexOf(e) + steps[event.key];
	setCurrent(all[Math.min(Math.max(i, 0), all.length - 1)]);
	current.tile.focus();
});
document.addEventListener("click", event => {
	const tile = event.target.closest(".tile");
	if (tile?.entry) openDetail(tile.entry);
});
document.addEventListener("pointerover", event => {
	const tile = event.target.closest?.(".tile");
	if (tile?.entry) tile.title = tile.entry.job.name + ": " + sentence(tile.entry.job);
});
document.addEventListener("focusin", event => {
	const e = event.target.entry;
	if (e) event.target.setAttribute("aria-label", e.job.name + ": " + sentence(e.job));
});

function openDetail(e) {
	detailed?.tile.classList.remove("selected");
	const was = detailed;
	detailed = e;
	drawDetail();
	if (e) setCurrent(e);
	else if (was?.tile.isConnected) was.tile.focus();
}

function drawDetail() {
	const panel = $("detail");
	if (detailed && !detailed.tile.isConnected) detailed = null;
	panel.hidden = !detailed;
	if (!detailed) return;
	detailed.tile.classList.add("selected");
	const close = element("button", {textContent: "×", type: "button", onclick: () => openDetail(null)});
	close.setAttribute("aria-label", "Close");
	const trips = moves.filter(m => m.job === detailed.job.name).slice(-5).reverse();
	panel.replaceChildren(element("h2", {textContent: detailed.job.name}), close, element("p", {textContent: sentence(detailed.job)}),
		...troubles(detailed.job).map(textContent => element("p", {className: "facts", textContent})),
		...trips.map(m => element("p", {className: "facts", textContent: `${clock(m.at)}  ${trip(m)}`})));
}

function troubles(job) {
	const all = [];
	if (job.failures) all.push(`Failed ${job.failures} × in a row: ${job.error}.` + (job.state === "failed" ? ` Next try at ${clock(job.next)}.` : ""));
	if (job.lacks) all.push("Not known on: " + job.lacks);
	return all;
}

connect();
