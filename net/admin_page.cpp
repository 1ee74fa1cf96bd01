#include "net/admin_page.h"

namespace troupe {

const std::string_view kAdminPage = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Troupe node</title>
<link rel="stylesheet" href="/admin.css"><script src="/admin.js" defer></script></head>
<body><h1>Troupe</h1>
<form id="login"><label>Admin token (STATE/admin.token) <input id="token" type="password" size="66" autocomplete="off"></label>
<button>Show</button></form>
<p id="note" role="status"></p>
<table><thead><tr><th>actor</th><th>state</th><th>pid</th><th>restarts</th><th>generation</th><th>mailbox ms</th>
<th>last step ms</th><th>last error</th></tr></thead><tbody id="rows"></tbody></table>
</body></html>
)";

const std::string_view kAdminScript = R"(const note = document.getElementById('note');
const rows = document.getElementById('rows');
let timer = 0;
async function show(token) {
  const answer = await fetch('/admin/tree', {headers: {Authorization: 'Bearer ' + token}});
  if (!answer.ok) {
    note.textContent = answer.status === 401 ? 'That token is wrong; it stands in admin.token of the state directory.'
                                             : 'The node answered ' + answer.status + '.';
    clearInterval(timer);
    return;
  }
  const tree = await answer.json();
  rows.replaceChildren();
  for (const node of tree.nodes) {
    note.textContent = tree.cluster + ' / ' + node.name + ': ' + node.state;
    for (const a of node.actors) {
      const row = rows.insertRow();
      for (const value of [a.id, a.reason ? a.state + ' (' + a.reason + ')' : a.state, a.pid, a.restarts, a.generation,
                           a.mailbox.age_ms, a.last_step_age_ms, a.last_error])
        row.insertCell().textContent = value;
    }
  }
}
document.getElementById('login').addEventListener('submit', event => {
  event.preventDefault();
  const token = document.getElementById('token').value.trim();
  clearInterval(timer);
  show(token);
  timer = setInterval(() => show(token), 2000);
});
)";

}  // namespace troupe
