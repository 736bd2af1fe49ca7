// Keeps the page as the demo says it is, and presses buttons without leaving it.
const events = new EventSource("events");
events.onmessage = event => {
	const focused = document.activeElement.form?.getAttribute("action");
	for (const [id, html] of Object.entries(JSON.parse(event.data))) {
		const part = document.getElementById(id);
		if (part.innerHTML === html) continue;
		part.innerHTML = html;
	}
	if (focused) document.querySelector(`form[action="${focused}"] button`)?.focus();
};
events.onerror = () => {
	if (events.readyState === EventSource.CLOSED) document.getElementById("news").textContent = "The demo has ended.";
};
document.addEventListener("submit", event => {
	event.preventDefault();
	fetch(event.target.action, {method: "POST", redirect: "manual"});
});
