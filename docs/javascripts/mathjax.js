// formulas are written in TeX between \( \) and \[ \]
window.MathJax = { tex: { inlineMath: [["\\(", "\\)"]], displayMath: [["\\[", "\\]"]] }, options: { processHtmlClass: "arithmatex" } };
