// What the theme's markup leaves out for the keyboard and for screen readers.
for (const region of document.querySelectorAll("pre, .table-wrapper")) {
  if (region.scrollWidth > region.clientWidth) region.tabIndex = 0;
}
for (const caption of document.querySelectorAll(".caption[role=heading]")) caption.ariaLevel = "2";
for (const list of document.querySelectorAll(".sig > dl")) list.role = "none";
document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "Pages");
document.querySelector(".toc-drawer")?.setAttribute("aria-label", "On this page");
