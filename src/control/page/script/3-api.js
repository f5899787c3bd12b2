// The API, its errors in words, and the token, which is asked for once and kept nowhere but here.

let token = null;
let asking = null;

/** What the API says is wrong, in its own words. */
class Problem extends Error {
  constructor(status, detail, retryAfter) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** An answer of the API as JSON. Asks for a token once the API wants one. */
async function call(path, options = {}) {
  const used = token;
  const headers = { accept: "application/json", ...options.headers };
  if (used !== null) headers.authorization = `Bearer ${used}`;
  let response;
  try {
    response = await fetch(path, {
      ...options, headers, cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(10_000),
    });
  } catch (error) {
    throw new Problem(0, error.name === "TimeoutError" ? "Envoy does not answer" : "Envoy cannot be reached", 0);
  }
  const text = await response.text().catch(() => "");
  const body = parsed(text);
  if (response.ok && body !== null) return body;
  if (response.status === 401) {
    // Another call may have got one meanwhile.
    if (used === token && !(await askForToken(used !== null))) throw new Problem(401, "this page needs a token", 0);
    return call(path, options);
  }
  throw new Problem(response.status, wordsOf(response.status, body, text), Number(response.headers.get("retry-after")) || 0);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** What an answer says is wrong: the API's words, or those of what answers in its place. */
function wordsOf(status, body, text) {
  if (typeof body?.detail === "string") return body.detail;
  // The route of the listener, which the filter did not take.
  if (status === 503 && text === "") return "the filter is not running; Envoy's log says why";
  const words = text.startsWith("<") ? "" : text.trim().slice(0, 200);
  return `the answer has status ${status}${words && `: ${words}`}`;
}

/** Gives a command. `revision`: it is obeyed only if nothing has happened since; `null`: in any case. */
function command(name, verb, fields, revision) {
  const headers = { "content-type": "application/json" };
  if (revision !== null) headers["if-match"] = `"${revision}"`;
  const path = `/v1/rollouts/${encodeURIComponent(name)}/${verb}`;
  return call(path, { method: "POST", headers, body: JSON.stringify(fields) });
}

/** Asks for a token; all who want one meanwhile wait for the same answer. Returns whether there is another one. */
function askForToken(wasWrong) {
  asking ??= new Promise((resolve) => {
    const input = el("input", { type: "password", name: "token", autocomplete: "off", required: true, spellcheck: "false" });
    openDialog({
      title: "This Envoy asks for a token",
      body: [
        el("p", {}, "It stays in this tab's memory, and is gone when the tab is closed or loaded again."),
        el("label", {}, "Token", input),
      ],
      wrong: wasWrong ? "This Envoy does not accept the token." : "",
      confirm: "Use this token",
      run: async () => { token = input.value.trim(); },
      closed: (done) => {
        asking = null;
        byId("token").hidden = done;
        resolve(done);
      },
    });
  });
  return asking;
}

/**
 * Opens a dialog. `run` does what it is about; what it throws is said in the dialog, which stays open then. `closed` gets
 * whether it was done.
 */
function openDialog({ title, body, wrong = "", confirm, danger = false, run, closed = () => {} }) {
  let done = false;
  const problem = el("p", { class: "wrong", role: "alert" }, wrong);
  const main = el("button", { class: danger ? "danger" : "main" }, confirm);
  const dialog = el("dialog", { "aria-labelledby": "dialog-title", onclose: () => { dialog.remove(); closed(done); } },
    el("form", {
      onsubmit: async (event) => {
        event.preventDefault();
        if (main.disabled) return;
        main.disabled = true;
        setText(problem, "");
        try {
          await run();
          done = true;
          dialog.close();
        } catch (error) {
          setText(problem, error instanceof Problem ? sentence(error.message) : "Something is wrong with this page.");
        }
        main.disabled = false;
      },
    },
    el("h2", { id: "dialog-title" }, title), body, problem,
    el("div", { class: "actions" }, el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), main)));
  document.body.append(dialog);
  dialog.showModal();
}
