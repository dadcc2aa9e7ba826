'use strict';
const at = id => document.getElementById(id);
let token = sessionStorage.getItem('hornbeam-token') || '';
let waiting = [];

// All text comes from elsewhere: it becomes text and nothing else.
function element(kind, text, name) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

async function ask(address, options = {}) {
  const headers = token ? {Authorization: 'Bearer ' + token} : {};
  let answer;
  try {
    answer = await fetch(address, {...options, headers});
  } catch (error) {
    throw new Error('The server cannot be reached.');
  }
  if (answer.status === 401) {
    at('access').hidden = false;
    at('token').focus();
    throw new Error(token ? 'The token is another one.' : 'This server wants a token first.');
  }
  let content;
  try {
    content = await answer.json();
  } catch (error) {
    throw new Error('The server answered with status ' + answer.status + '.');
  }
  if (!answer.ok) throw new Error(content.error);
  return content;
}

async function introduce() {
  try {
    const model = await ask('model');
    at('access').hidden = true;
    at('name').textContent = model.name;
    const tasks = model.tasks.map(task => task.classes.length + ' classes of ' + task.name);
    at('about').textContent = 'It knows ' + tasks.join(', ') + '. Your pictures go to this server and nowhere else.'
      + (model.features.length ? ' It also wants numbers beside each picture ('
        + model.features.join(', ') + '), which this page cannot send.' : '');
    return true;
  } catch (error) {
    say(error.message);
    return false;
  }
}

function say(text) { at('state').textContent = text; }

function percent(value) {
  return value > 0 && value < .001 ? '< 0.1 %' : (100 * value).toFixed(1) + ' %';
}

// Of a task with several labels, those that hold, of which there may be none.
function heading(task) {
  if (!task.labels) return task.top[0].class;
  return task.labels.length ? task.labels.join(', ') : 'none of the labels';
}

function bars(task, name, several) {
  const all = document.createDocumentFragment();
  if (several) all.append(element('h3', name));
  if (task.top.length) all.append(element('h2', heading(task)));
  if (task.sure === false) all.append(element('p', 'Not sure: it is better not to rely upon this.', 'doubt'));
  for (const each of task.top) {
    const row = element('div', undefined, 'of');
    const meter = element('meter');
    meter.value = each.probability;
    meter.setAttribute('aria-hidden', 'true');
    row.append(element('span', each.class), meter, element('b', percent(each.probability)));
    all.append(row);
  }
  return all;
}

function show(file, content, problem) {
  const item = element('li'), words = element('div'), image = element('img');
  image.src = URL.createObjectURL(file);
  image.alt = '';
  image.onload = () => URL.revokeObjectURL(image.src);
  image.onerror = () => image.remove();
  if (problem) {
    words.append(element('p', problem, 'doubt'));
  } else {
    if (content.unknown) words.append(element('p', 'Unlike the known classes: it is probably none of them.', 'doubt'));
    const names = Object.keys(content.tasks);
    for (const name of names) words.append(bars(content.tasks[name], name, names.length > 1));
  }
  words.append(element('p', file.name, 'file soft'));
  item.append(image, words);
  at('answers').prepend(item);
}

async function answer(files) {
  const pictures = [...files];
  let answered = 0, last = '';
  for (const file of pictures) {
    say('Asking about ' + (pictures.length > 1 ? (answered + 1) + ' of ' + pictures.length : file.name) + ' …');
    const form = new FormData();
    form.append('image', file);
    try {
      const content = (await ask('predict', {method: 'POST', body: form})).answers[0];
      show(file, content);
      const names = Object.keys(content.tasks);
      last = file.name + ': ' + names.map(name => {
        const first = content.tasks[name].top[0];
        return (content.tasks[name].labels ? heading(content.tasks[name])
          : first.class + ', ' + percent(first.probability))
          + (content.tasks[name].sure === false ? ', not sure' : '');
      }).join('; ') + (content.unknown ? '; unlike the known classes' : '') + '.';
      answered += 1;
    } catch (error) {
      if (!at('access').hidden) {
        waiting = pictures.slice(pictures.indexOf(file));
        say(error.message);
        return;
      }
      show(file, null, error.message);
      last = file.name + ': ' + error.message;
      answered += 1;
    }
  }
  say(pictures.length > 1 ? answered + ' pictures are answered.' : last);
}

for (const id of ['file', 'camera']) {
  at(id).addEventListener('change', event => {
    const files = [...event.target.files];
    event.target.value = '';
    answer(files);
  });
}
at('access').addEventListener('submit', async event => {
  event.preventDefault();
  token = at('token').value.trim();
  if (await introduce()) {
    sessionStorage.setItem('hornbeam-token', token);
    say('The token is right.');
    answer(waiting.splice(0));
  }
});
for (const kind of ['dragover', 'dragleave', 'drop']) {
  addEventListener(kind, event => {
    event.preventDefault();
    at('drop').classList.toggle('over', kind === 'dragover');
    if (kind === 'drop') answer(event.dataTransfer.files);
  });
}
addEventListener('paste', event => {
  if (event.clipboardData.files.length) answer(event.clipboardData.files);
});
introduce();
