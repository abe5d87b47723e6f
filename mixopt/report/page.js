"use strict";
(function () {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  if (!window.Plotly) return;
  const PAPER = 660; // CSS pixels between the margins of a printed page
  const places = Object.keys(figures).map((key) => document.getElementById("figure-" + key));

  Object.keys(figures).forEach((key, n) => {
    const draw = (choice) => {
      const figure = figures[key][choice];
      places[n].textContent = "";
      Plotly.newPlot(places[n], figure.data, figure.layout, { responsive: true, displayModeBar: false });
    };
    draw(0);
    const chooser = document.querySelector('select[data-for="' + key + '"]');
    if (!chooser) return;
    chooser.closest("p").hidden = false;
    chooser.addEventListener("change", () => draw(Number(chooser.value)));
  });

  // A printed page is narrower than the window, and what is folded would be lost on it.
  let folded = [];
  const print = () => {
    folded = Array.from(document.querySelectorAll("details:not([open])"));
    folded.forEach((one) => { one.open = true; });
    places.forEach((place) => Plotly.relayout(place, { width: PAPER, autosize: false }));
  };
  const screen = () => {
    folded.forEach((one) => { one.open = false; });
    places.forEach((place) => Plotly.relayout(place, { width: null, autosize: true }));
  };
  window.addEventListener("beforeprint", print);
  window.addEventListener("afterprint", screen);
})();
