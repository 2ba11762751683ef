/* What pages lack for readers who use the keyboard or have the page read to them. */
document.addEventListener("DOMContentLoaded", () => {
  // Logo, search and contents belong to a landmark, and the arrow that unfolds a part of the contents has a name.
  const sidebar = document.getElementById("pst-primary-sidebar");
  sidebar.role = "complementary";
  sidebar.ariaLabel = "The book";
  for (const arrow of sidebar.querySelectorAll("summary")) {
    arrow.ariaLabel = `Pages below ${arrow.closest("li").querySelector("a").textContent.trim()}`;
  }

  // The empty corner of a table is no heading.
  for (const corner of document.querySelectorAll("th")) {
    if (corner.textContent.trim()) continue;
    const cell = document.createElement("td");
    cell.className = corner.className;
    corner.replaceWith(cell);
  }

  // Items of a list, also where the list is a bibliography.
  for (const work of document.querySelectorAll(".citation-list > .citation")) work.role = "listitem";

  // Boxes that scroll can be reached, so that the arrow keys move what is in them.
  const boxes = new ResizeObserver((changed) => {
    for (const { target: box } of changed) {
      box.tabIndex = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight ? 0 : -1;
    }
  });
  for (const box of document.querySelectorAll("pre, .output.text_html, .tag_output_scroll > .cell_output")) boxes.observe(box);
});
