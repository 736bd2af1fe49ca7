// Buttons that give orders: in the detail of a job, in the columns of nodes, and a
// list of what has been ordered. Loaded only if the page takes orders.
const $ = id => document.getElementById(id);

function element(tag, properties, ...children) {
	const e = Object.assign(document.createElement(tag), properties);
	e.append(...children);
	return e;
}

// give asks why, and orders. What stops work says so in the question.
async function give(order, question) {
	if (question !== undefined) {
		const why = prompt(question + " Why? (others see this)");
		if (why === null) return;
		order.why = why;
	}
	let text = "";
	try {
		const answer = await fetch("orders", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(order)});
		if (!answer.ok) text = await answer.text();
	} catch (error) {
		text = String(error);
	}
	$("orders-say").textContent = text;
	await list();
}

const button = (text, order, question) => element("button", {type: "button", textContent: text, onclick: () => give(order(), question?.())});

const instances = () => [...document.querySelectorAll(".column[data-node]:not([data-gone]) h2 .name")].map(e => e.title);

// The detail of a job.

let orders = [], chosen = ""; // an instance, kept while the detail is drawn again

function jobButtons(job) {
	const to = element("select", {ariaLabel: "instance"}, ...instances().map(name => element("option", {textContent: name})));
	if (instances().includes(chosen)) to.value = chosen;
	to.onchange = () => chosen = to.value;
	const paused = orders.some(o => o.kind === "pause" && o.job === job);
	const placed = orders.some(o => (o.kind === "pin" || o.kind === "move") && o.job === job);
	const row = element("p", {className: "orders"});
	row.append(paused ? button("Resume", () => ({verb: "resume", job})) : button("Pause", () => ({verb: "pause", job}), () => `Stop ${job}, wherever it runs.`));
	row.append(button("Resign", () => ({verb: "resign", job}), () => `Stop ${job} where it runs now.`));
	row.append(to, button("Move", () => ({verb: "move", job, instance: to.value}), () => `Move ${job} to ${to.value}.`));
	row.append(button("Pin", () => ({verb: "pin", job, instance: to.value}), () => `Move ${job} to ${to.value}, and keep it there.`));
	if (placed) row.append(button("Unpin", () => ({verb: "unpin", job})));
	row.append(button("Forget", () => ({verb: "forget", job})));
	row.dataset.key = JSON.stringify([job, paused, placed, instances()]);
	return row;
}

const detail = $("detail");

function fillDetail() {
	const name = detail.querySelector("h2")?.textContent;
	const there = detail.querySelector(".orders");
	if (detail.hidden || !name) return there?.remove();
	const row = jobButtons(name);
	if (there?.dataset.key === row.dataset.key || there?.contains(document.activeElement)) return;
	there?.remove();
	detail.append(row);
}

// The columns of nodes.

function fillColumns() {
	for (const c of document.querySelectorAll(".column[data-node]")) {
		const name = c.querySelector("h2 .name")?.title, details = c.querySelector("details");
		if (!name || !details) continue;
		const drained = orders.some(o => o.kind === "drain" && o.instance === name);
		const there = details.querySelector(".orders");
		if (there?.dataset.key === String(drained)) continue;
		there?.remove();
		const row = element("p", {className: "orders"}, drained
			? button("Undrain", () => ({verb: "undrain", instance: name}))
			: button("Drain", () => ({verb: "drain", instance: name}), () => `Take all jobs from ${name}.`));
		row.dataset.key = String(drained);
		details.append(row);
	}
}

// What has been ordered.

const undo = {pause: "resume", move: "unpin", pin: "unpin", drain: "undrain"};

async function list() {
	try {
		const answer = await fetch("orders");
		if (answer.ok) orders = await answer.json() || [];
	} catch {
		return; // the page says that the service is away
	}
	const rows = orders.map(o => {
		const what = o.kind === "pause" && !o.job ? "pause all" : [o.kind, o.job, o.instance].filter(Boolean).join(" ");
		const back = undo[o.kind] && button("Take back", () => ({verb: o.kind === "pause" && !o.job ? "resume-all" : undo[o.kind], job: o.job, instance: o.instance}));
		return element("li", {}, element("b", {textContent: what}), ` by ${o.by}${o.why ? ": " + o.why : ""} `, ...(back ? [back] : []));
	});
	const key = JSON.stringify(orders);
	if ($("orders-list").dataset.key !== key) {
		$("orders-list").dataset.key = key;
		$("orders-list").replaceChildren(...rows);
	}
	fillDetail();
	fillColumns();
}

$("pause-all").onclick = () => give({verb: "pause-all"}, "Stop all jobs of the app.");
new MutationObserver(fillDetail).observe(detail, {childList: true, attributes: true, attributeFilter: ["hidden"]});
new MutationObserver(fillColumns).observe($("board"), {childList: true});
await list();
setInterval(() => document.hidden || list(), 2000);
