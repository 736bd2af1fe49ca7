// Keeps the page as the service says it is: takes one picture, then changes, from
// the stream of events, and lets the tiles of jobs that move fly to their nodes.
const $ = id => document.getElementById(id);
const board = $("board"), nowhere = $("nowhere"), query = $("q"), calm = matchMedia("(prefers-reduced-motion: reduce)");

let nodes = new Map(); // by ID, in the order of the columns
let self = "";
let silence = {}, heardAt = 0; // of nodes, in ms, and when we were told, by our clock
let store = {state: "unknown", silence_ms: 0};
let skew = 0; // the service's clock less ours
let moves = [], unsaid = 0, saidAt = -Infinity;
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

// setName writes a name in two parts. Where there is no room for all of it, the end
// of the first is left out: names in a list most often begin alike. See name.go.
function setName(e, text) {
	if (e.textContent === text && e.firstChild) return e;
	let at = text.length;
	if (text.length > 6) {
		at = Math.max(text.lastIndexOf("/"), text.lastIndexOf("-"));
		if (at < 0 || text.length - at < 2 || text.length - at > 16) at = text.length - Math.min(8, text.length >> 1);
		if (/[\udc00-\udfff]/.test(text[at])) at--;
	}
	e.title = text;
	e.replaceChildren(element("span", {className: "head", textContent: text.slice(0, at)}), element("span", {className: "tail", textContent: text.slice(at)}));
	return e;
}

const named = text => setName(element("span", {className: "name"}), text);

const columns = new Map(); // by node ID, "" for nowhere
columns.set("", {section: nowhere, tiles: nowhere.querySelector(".tiles"), count: nowhere.querySelector(".count")});
let snapshot = true; // the tiles are those that came with the page

function makeColumn(id) {
	const c = {
		name: element("span", {className: "name"}), count: element("b", {className: "count"}), facts: element("p", {className: "facts"}),
		heart: element("span", {className: "heart"}), chips: element("ul", {className: "chips"}), summary: element("summary"), list: element("dl"), tiles: element("ul", {className: "tiles"}),
	};
	c.section = element("section", {className: "column"},
		element("header", {}, element("h2", {}, c.name, " ", c.count), c.facts, c.chips, element("details", {}, c.summary, c.list)), c.tiles);
	c.section.dataset.node = id;
	return c;
}

const departure = n => n.went === "silent"
	? element("span", {className: "badge warn", textContent: "fell silent", title: "the others had not heard of it for a TTL: it crashed, was frozen, or is cut off from the store"})
	: element("span", {className: "badge", textContent: "left", title: "it stopped, or knew that it had lost its lease"});

function fillColumn(c, n) {
	c.section.className = "column c" + n.color;
	c.section.toggleAttribute("data-gone", n.gone);
	c.section.setAttribute("aria-label", n.instance);
	setName(c.name, n.instance);
	const facts = [];
	if (n.id === self) facts.push(element("span", {className: "badge", textContent: "this node"}));
	if (n.draining && !n.gone) facts.push(element("span", {className: "badge warn", textContent: "draining"}));
	facts.push(n.gone ? departure(n) : c.heart);
	if (n.standby && !n.gone) facts.push(element("span", {textContent: "stands by for " + n.standby.toLocaleString("en")}));
	c.facts.replaceChildren(...facts);
	c.summary.textContent = n.version || "details";
	const rows = [["lease", n.id]];
	if (n.started) rows.push(["started", new Date(n.started).toLocaleString()]);
	if (n.capacity) rows.push(["at most", n.capacity + " jobs"]);
	rows.push(...Object.entries(n.metadata || {}).sort());
	c.chips.replaceChildren(...Object.entries(n.labels || {}).sort().map(label => element("li", {textContent: label.join("=")})));
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

// short is a duration as it is read fastest.
function short(ms) {
	if (ms < 1) return "< 1 ms";
	if (ms < 999.5) return Math.round(ms) + " ms";
	return ms < 59950 ? (ms / 1000).toFixed(1) + " s" : duration(ms);
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
	tile.toggleAttribute("data-warming", Boolean(job.warming));
	if (density === "dots") {
		tile.replaceChildren();
		return;
	}
	if (!tile.firstChild) tile.append(element("span", {className: "name"}), element("span", {className: "meta"}));
	setName(tile.firstChild, job.name);
	if (density === "full") ageTile(e);
	else tile.lastChild.textContent = "";
}

function ageTile({job, tile}) {
	const words = [];
	if (job.state !== "running" && job.state !== "failed") words.push(job.state);
	if (job.paused) words.push(job.paused);
	if (job.warming) words.push("warming up");
	if (job.failures) words.push("failed × " + job.failures);
	if (job.state === "failed") words.push("again in " + duration(Date.parse(job.next) - now()));
	else if (job.since) words.push(duration(now() - Date.parse(job.since)));
	else if (job.state === "running") words.push("running");
	if (job.lacks) words.push("not on all nodes");
	if (job.token) words.push("#" + job.token);
	const text = words.join(" · ");
	if (tile.lastChild.textContent !== text) tile.lastChild.textContent = text;
}

function sentence(job) {
	const where = nodes.has(job.node) ? " on " + nodes.get(job.node).instance : "";
	const since = job.since ? ", since " + new Date(job.since).toLocaleString() + " (" + duration(now() - Date.parse(job.since)) + ")" : "";
	return job.state + (job.paused ? " " + job.paused : "") + (job.warming ? ", warming up" : "") + where + since + (job.token ? ", token " + job.token : "") + (job.standby ? ", " + job.standby + " waiting for it" : "");
}

const aboutToken = token => `#${token} is the fencing token: it rises with each leader of the job, so that a database can refuse what an earlier one sends too late.`;

// columnOf is where a job's tile belongs: a node that nobody knows is nowhere.
const columnOf = job => columns.has(job.node) ? job.node : "";

function matches(job) {
	if (state ? job.state !== state : job.state === "done") return false; // that does not wait for anything
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
	const all = {"": 0}, total = new Map(), seen = new Map();
	for (const {job, tile, column} of jobs.values()) {
		all[job.state] = (all[job.state] || 0) + 1;
		if (job.state === "done" && state !== "done") continue;
		if (job.state !== "done") all[""]++;
		total.set(column, (total.get(column) || 0) + 1);
		if (!tile.hidden) seen.set(column, (seen.get(column) || 0) + 1);
	}
	for (const s of ["failed", "paused", "done"]) if (all[s] && !$("states").querySelector(`[data-state=${s}]`)) {
		const a = element("a", {href: "?state=" + s}, element("b"), " " + s);
		a.dataset.state = s;
		$("states").append(a);
	}
	for (const a of $("states").children) {
		const n = all[a.dataset.state] || 0;
		a.firstChild.textContent = n.toLocaleString("en");
		a.toggleAttribute("data-alarm", n > 0 && ["stopping", "stuck", "waiting", "failed"].includes(a.dataset.state));
	}
	for (const [id, c] of columns) {
		const t = total.get(id) || 0, s = seen.get(id) || 0;
		c.count.textContent = (s === t ? "" : s.toLocaleString("en") + " of ") + t.toLocaleString("en");
	}
	showNowhere(total.has(""));
	fitRows();
	$("matches").hidden = shown === all[""];
	$("matches").textContent = shown.toLocaleString("en") + " of " + all[""].toLocaleString("en") + " jobs match.";
	if (!current || current.tile.hidden || !current.tile.isConnected) setCurrent(visible()[0]);
}

// fitRows makes the tiles of a board so high that they fill it.
function fitRows() {
	if (document.body.dataset.view !== "board" || density === "dots") return;
	board.style.removeProperty("--row");
	let height = Infinity;
	for (const {tiles} of columns.values()) {
		if (tiles.parentNode === nowhere || !tiles.childElementCount) continue;
		const style = getComputedStyle(tiles), rows = style.gridTemplateRows.split(" ").length;
		const room = tiles.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
		height = Math.min(height, (room + parseFloat(style.rowGap)) / rows - parseFloat(style.rowGap));
	}
	board.style.setProperty("--row", Math.floor(Math.min(height - 1, 46)) + "px");
}

addEventListener("resize", fitRows);

// showNowhere folds the row of jobs that run nowhere away when there has been none for
// a while: not at once, or the board would jump up and down while nodes restart.
let folding;

function showNowhere(any) {
	clearTimeout(folding);
	if (any) nowhere.toggleAttribute("data-any", true);
	else folding = setTimeout(() => nowhere.toggleAttribute("data-any", false), 2000);
}

// Animation: first, last, invert, play.

const few = 400; // tiles that are worth moving aside one by one

function remember(changed) {
	if (calm.matches || document.hidden) return null;
	const tiles = jobs.size <= few ? [...jobs.values()].map(e => e.tile) : [...changed].slice(0, few).map(e => e.tile);
	const places = new Map();
	for (const tile of tiles) if (tile.checkVisibility()) places.set(tile, tile.getBoundingClientRect());
	return places;
}

function play(places, moved) {
	if (places) {
		const steps = [];
		for (const [tile, from] of places) {
			if (!tile.checkVisibility()) continue;
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
	take({nodes: p.nodes, self: p.self, jobs: changed, gone: [...gone], moves: p.moves, stuck: p.stuck, unreadable: p.unreadable || ""}, true);
	takeBeat({at: p.at, store: p.store, silence_ms: Object.fromEntries(p.nodes.map(n => [n.id, n.silence_ms]))});
}

const same = (a, b) => Object.keys({...a, ...b}).every(k => a[k] === b[k]);

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
	if (c.unreadable !== undefined) takeUnreadable(c.unreadable);
	show();
	play(places, moved);
	drawDetail();
	if (c.nodes || changed.includes(detailed)) askMore();
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

const gap = m => m.gap_ms === null ? "?" : (m.lost ? "≈ " : "") + short(m.gap_ms);

function takeMoves(more, whole) {
	moves = moves.concat(more).slice(-100);
	if (!whole) unsaid += more.length;
	const rows = grouped(moves.toReversed()).map(g => g.length < 4 ? g.map(moveRow) : groupRow(g)).flat();
	if (!rows.length) rows.push(element("tr", {className: "none"}, element("td", {colSpan: 3, textContent: "Nothing has moved since this page began to look."})));
	$("moves").replaceChildren(...rows);
}

// grouped puts together what left one node at once.
function grouped(moves) {
	const groups = [];
	for (const m of moves) {
		const last = groups.at(-1), before = last?.at(-1);
		if (before && before.from === m.from && Date.parse(before.at) - Date.parse(m.at) < 2000) last.push(m);
		else groups.push([m]);
	}
	return groups;
}

const row = (at, what, gap) => element("tr", {}, element("td", {}, element("time", {dateTime: at, textContent: clock(at)})),
	element("td", {}, ...what), element("td", {className: "gap", textContent: gap}));

const moveRow = m => row(m.at, [element("b", {}, named(m.job)), element("span", {className: "trip"}, ...ends(m))], gap(m));

const ends = m => [named(m.from || "elsewhere"), element("i", {textContent: " → "}), named(m.to || "elsewhere")];

const unfolded = new Set(); // groups, by the number of their oldest move

function groupRow(group) {
	const {at, from} = group[0], number = group.at(-1).number, to = new Set(group.map(m => m.to));
	const longest = group.reduce((a, b) => a.gap_ms === null || b.gap_ms !== null && a.gap_ms >= b.gap_ms ? a : b);
	const target = to.size === 1 ? named(group[0].to || "elsewhere") : element("span", {textContent: to.size + " nodes"});
	const details = element("details", {open: unfolded.has(number)}, element("summary", {textContent: group.length + " jobs"}),
		element("ul", {}, ...group.map(m => element("li", {}, named(m.job), element("i", {textContent: " → "}), named(m.to || "elsewhere")))));
	details.addEventListener("toggle", () => details.open ? unfolded.add(number) : unfolded.delete(number));
	return row(at, [element("b", {}, details), element("span", {className: "trip"}, named(from || "elsewhere"), element("i", {textContent: " → "}), target)], gap(longest));
}

// A leader that is no node of ours has no name: a plain election of etcd's, say.
const trip = m => (m.from || "elsewhere") + " → " + (m.to || "elsewhere");

function takeStuck(list) {
	$("stuck").hidden = !list.length;
	$("stuck").querySelector("ul").replaceChildren(...list.slice(0, 20).map(s =>
		element("li", {}, element("b", {textContent: s.job}), ` since ${clock(s.since)}, token ${s.token}: ${s.cause}`)));
}

function takeUnreadable(text) {
	$("unreadable").hidden = !text;
	$("unreadable").textContent = text && "Nobody is shown to lead: " + text;
}

function takeBeat(b) {
	skew = Date.parse(b.at) - Date.now();
	store = b.store;
	silence = b.silence_ms;
	heardAt = Date.now();
	say();
	tick();
}

// say tells a screen reader what has happened, every ten seconds at most, also when
// somebody puts the clock forward.
function say() {
	const now = performance.now();
	if (!unsaid || now - saidAt < 10000) return;
	let running = 0;
	for (const {job} of jobs.values()) if (job.state === "running") running++;
	$("say").textContent = `${unsaid} ${unsaid === 1 ? "job" : "jobs"} moved. ${running} of ${jobs.size} run.`;
	unsaid = 0;
	saidAt = now;
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
	if (tile?.entry) tile.title = tile.entry.job.name + ": " + sentence(tile.entry.job) + (tile.entry.job.token ? "\n" + aboutToken(tile.entry.job.token) : "");
});
document.addEventListener("focusin", event => {
	const e = event.target.entry;
	if (e) event.target.setAttribute("aria-label", e.job.name + ": " + sentence(e.job));
});

function openDetail(e) {
	detailed?.tile.classList.remove("selected");
	const was = detailed;
	detailed = e;
	more = null;
	drawDetail();
	askMore();
	if (e) setCurrent(e);
	else if (was?.tile.isConnected) was.tile.focus();
}

let more = null, asked = 0, asking; // what the service says of the job whose detail is open

// askMore asks for it, at most every two seconds: the service computes it for us.
function askMore() {
	clearTimeout(asking);
	if (!detailed) return;
	const wait = more ? asked + 2000 - Date.now() : 0;
	if (wait > 0) {
		asking = setTimeout(askMore, wait);
		return;
	}
	asked = Date.now();
	const name = detailed.job.name;
	fetch("job?name=" + encodeURIComponent(name)).then(r => r.ok ? r.json() : null).catch(() => null).then(found => {
		if (!found || detailed?.job.name !== name) return;
		more = found;
		drawDetail();
	});
}

function drawDetail() {
	const panel = $("detail");
	if (detailed && !detailed.tile.isConnected) detailed = null;
	panel.hidden = !detailed;
	if (!detailed) return;
	const {job, tile} = detailed;
	tile.classList.add("selected");
	const close = element("button", {textContent: "×", type: "button", onclick: () => openDetail(null)});
	close.setAttribute("aria-label", "Close");
	const trips = moves.filter(m => m.job === job.name).slice(-5).reverse();
	panel.replaceChildren(element("h2", {textContent: job.name}), close, element("p", {textContent: sentence(job)}),
		element("dl", {}, ...facts(job).flatMap(([k, v]) => [element("dt", {}, k), element("dd", {textContent: v})])),
		...trips.map(m => element("p", {className: "facts", textContent: `${clock(m.at)}  ${trip(m)}, gap ${gap(m)}`})));
}

// facts are what there is to say of a job beyond a sentence.
function facts(job) {
	const rows = [];
	if (job.failures) rows.push(["last error", job.error], ["failures", job.failures + " in a row"]);
	if (job.state === "failed") rows.push(["next try", clock(job.next)]);
	if (job.lacks) rows.push(["not known on", job.lacks]);
	if (job.warming) rows.push(["warmth", "Work has not said yet that it is ready"]);
	if (job.prepares) rows.push(["warms up on", job.prepares]);
	if (more?.reason) rows.push([job.node ? "why there" : "why", more.reason]);
	if (more?.moves_to) rows.push(["is to move to", more.moves_to]);
	if (more?.standby) rows.push(["standby", more.standby]);
	else if (more?.waiting.length) rows.push(["waiting", more.waiting.join(", ")]);
	if (more?.weight) rows.push(["weight", more.weight]);
	if (more?.prefer) rows.push(["prefers", more.prefer.join(", ")]);
	if (more?.avoid) rows.push(["avoids", more.avoid.join(", ")]);
	if (job.token) rows.push([element("abbr", {textContent: "token", title: aboutToken(job.token)}), job.token]);
	return rows;
}

connect();
