// What the theme's markup leaves out for the keyboard and for screen readers.
for (const region of document.querySelectorAll("pre, .table-wrapper")) {
  if (region.scrollWidth > region.clientWidth) region.tabIndex = 0;
}
for (const caption of document.querySelectorAll(".caption[role=heading]")) caption.ariaLevel = "2";
for (const list of document.querySelectorAll(".sig > dl")) list.role = "none";
document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "Pages");
document.querySelector(".toc-drawer")?.setAttribute("aria-label", "On this page");
document.getElementById("search-results")?.insertAdjacentHTML("beforebegin", "<h1>Search</h1>");
// The theme opens its menus by labels of hidden fields, which the keyboard does not reach.
for (const label of document.querySelectorAll(".nav-overlay-icon, .toc-overlay-icon")) {
  const menu = document.getElementById(label.htmlFor);
  const button = document.createElement("button");
  button.className = label.className;
  button.ariaLabel = menu.ariaLabel;
  button.ariaExpanded = "false";
  button.append(...label.childNodes);
  button.addEventListener("click", () => menu.click());
  menu.addEventListener("change", () => (button.ariaExpanded = String(menu.checked)));
  label.replaceWith(button);
}
addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelectorAll(".sidebar-toggle:checked").forEach((menu) => menu.click());
});
