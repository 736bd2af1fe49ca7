// Keeps the page as the demo says it is, and presses buttons without leaving it.
const events = new EventSource("events"), shown = new Map();
events.onmessage = event => {
	const buttons = () => [...document.querySelectorAll("button")];
	const focused = buttons().indexOf(document.activeElement);
	for (const [id, html] of Object.entries(JSON.parse(event.data))) {
		const part = document.getElementById(id);
		if (shown.get(id) !== html) part.innerHTML = html;
		shown.set(id, html);
	}
	if (focused >= 0) buttons()[focused]?.focus();
};
events.onerror = () => {
	if (events.readyState === EventSource.CLOSED) document.getElementById("news").textContent = "The demo has ended.";
};
document.addEventListener("submit", event => {
	event.preventDefault();
	fetch(event.target.action, {method: "POST", redirect: "manual"});
});
