#include "net/admin_page.h"

namespace troupe {

std::string_view admin_page_html() {
  return R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>troupe</title>
<link rel="stylesheet" href="/admin.css">
<script src="/admin.js" defer></script>
</head>
<body>
<h1>troupe</h1>
<form id="login"><label>Token from admin.token <input id="token" type="password" autocomplete="off"></label>
<button>Show</button></form>
<p id="status" role="status"></p>
<table><thead><tr><th>Actor</th><th>State</th><th>Generation</th><th>Restarts</th><th>Mailbox</th><th>Last error</th></tr></thead>
<tbody id="actors"></tbody></table>
</body>
</html>
)";
}

std::string_view admin_page_script() {
  return R"('use strict';
let timer = 0;
async function show() {
  const status = document.getElementById('status');
  const token = document.getElementById('token').value.trim();
  try {
    const answer = await fetch('/admin/tree', {headers: {Authorization: 'Bearer ' + token}});
    const tree = await answer.json();
    if (!answer.ok) { status.textContent = tree.error.message; return; }
    status.textContent = 'Cluster ' + tree.cluster;
    const rows = [];
    for (const node of tree.nodes) for (const actor of node.actors) {
      const row = document.createElement('tr');
      const mailbox = actor.mailbox ? actor.mailbox.depth + ' (' + actor.mailbox.age_ms + ' ms)' : '';
      for (const text of [actor.id, actor.state, actor.generation, actor.restarts, mailbox, actor.last_error]) {
        const cell = document.createElement('td');
        cell.textContent = text === undefined ? '' : String(text);
        row.append(cell);
      }
      row.className = actor.state;
      rows.push(row);
    }
    document.getElementById('actors').replaceChildren(...rows);
  } catch (problem) {
    status.textContent = 'The node does not answer: ' + problem.message;
  }
}
document.getElementById('login').addEventListener('submit', (event) => {
  event.preventDefault();
  clearInterval(timer);
  timer = setInterval(show, 2000);
  show();
});
)";
}

std::string_view admin_page_style() {
  return R"(body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; }
table { border-collapse: collapse; }
th, td { padding: .3em .8em; border-bottom: 1px solid #ccc; text-align: left; }
.failed td, .suspect td { color: #a00; }
.starting td, .draining td { color: #850; }
)";
}

}  // namespace troupe
