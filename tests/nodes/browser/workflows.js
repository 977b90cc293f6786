// Loads workflows in the real ComfyUI frontend, in a headless Chromium, and tells what it saw.
//
//   node workflows.js SERVER_URL CHROMIUM OUT_DIR FILE.json... [--run]
//
// FILE is in API or in UI format. For each, OUT_DIR gets NAME.json (as the frontend saves it) and
// NAME.png (what it shows); with --run the workflow is queued first. Standard output gets one JSON
// object: name -> {errors, nodes, types, api, events, console}.
// Needs playwright-core: `npm install playwright-core`, and NODE_PATH where it is not beside this.

const fs = require('fs')
const path = require('path')
const { chromium } = require('playwright-core')

const run = process.argv.includes('--run')
const [url, executablePath, out, ...files] = process.argv.slice(2).filter((a) => a !== '--run')
// What a browser without internet complains about has nothing to do with us.
const HARMLESS = /net::ERR|Failed to load resource|api\.comfy\.org|huggingface|Failed to fetch|favicon|firebase|WebGL|GPU|deprecated/i

async function open(browser, log) {
  // A first start shows a tutorial over everything.
  const body = JSON.stringify({ 'Comfy.TutorialCompleted': true, 'Comfy.UseNewMenu': 'Top' })
  await fetch(`${url}/settings`, { method: 'POST', body })
  const page = await browser.newPage({ viewport: { width: 1600, height: 900 } })
  await page.goto(url)
  await page.waitForFunction(
    () => window.app?.graph && Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 100,
    null,
    { timeout: 90000 }
  )
  page.on('console', (m) => {
    if (['error', 'warning'].includes(m.type()) && !HARMLESS.test(m.text())) {
      log.push(`${m.type()}: ${m.text()}`)
    }
  })
  page.on('pageerror', (e) => HARMLESS.test(String(e)) || log.push(`pageerror: ${e}`))
  return page
}

function arrange() {
  // Columns by the longest path from a source; API files have no positions.
  const graph = window.app.graph
  const depth = new Map()
  const depthOf = (node) => {
    if (!depth.has(node)) {
      const before = (node.inputs ?? [])
        .map((i) => i.link != null && graph.getNodeById(graph.links[i.link].origin_id))
        .filter(Boolean)
      depth.set(node, before.length ? Math.max(...before.map(depthOf)) + 1 : 0)
    }
    return depth.get(node)
  }
  const columns = []
  for (const node of graph._nodes) {
    ;(columns[depthOf(node)] ??= []).push(node)
  }
  for (const node of graph._nodes) {
    const control = node.widgets?.find((w) => w.name === 'control_after_generate')
    if (control) control.value = 'fixed'
  }
  let x = 40
  for (const column of columns) {
    let y = 80
    const width = Math.max(...column.map((node) => Math.max(node.computeSize()[0], 320)))
    for (const node of column) {
      const picture = /Sampler/.test(node.type) ? 200 : 0
      const least = /Preview|Save|AddSound|LoadVideo/.test(node.type) ? 330 : 0
      const height = Math.max(node.computeSize()[1] + picture, least)
      node.pos = [x, y]
      node.setSize([width, height])
      y += height + 70
    }
    x += width + 70
  }
}

async function fit(page) {
  await page.evaluate(() => {
    const { graph, canvas } = window.app
    const boxes = graph._nodes.map((n) => [n.pos[0], n.pos[1] - 30, n.pos[0] + n.size[0], n.pos[1] + n.size[1]])
    const [left, top] = [0, 1].map((i) => Math.min(...boxes.map((b) => b[i])))
    const [right, bottom] = [2, 3].map((i) => Math.max(...boxes.map((b) => b[i])))
    const area = { x: 90, y: 110, width: 1420, height: 760 }
    const scale = Math.min(area.width / (right - left), area.height / (bottom - top), 1)
    canvas.ds.scale = scale
    canvas.ds.offset = [area.x / scale - left, area.y / scale - top]
    canvas.setDirty(true, true)
  })
  await page.waitForTimeout(1200)
}

async function queue(page) {
  return page.evaluate(async () => {
    const seen = []
    const { app } = window
    const ended = new Promise((resolve) => {
      for (const name of ['execution_success', 'execution_error', 'execution_interrupted']) {
        app.api.addEventListener(name, (e) => {
          seen.push([name, e.detail?.node_id ?? null, e.detail?.exception_message ?? null])
          resolve()
        })
      }
      setTimeout(resolve, 120000)
    })
    const refused = await app.queuePrompt(0, 1)
    void refused // its value is not reliable on every version; the events are
    await ended
    return seen
  })
}

async function examine(page, log, file) {
  log.length = 0
  const content = JSON.parse(fs.readFileSync(file, 'utf8'))
  const isApi = !content.nodes
  await page.evaluate(
    async ([json, api, name]) => {
      await (api ? window.app.loadApiJson(json, name) : window.app.loadGraphData(json))
    },
    [content, isApi, path.basename(file, '.json')]
  )
  await page.waitForTimeout(500)
  if (isApi) await page.evaluate(arrange)
  // Before it ran: players and pictures would be saved as widgets.
  const graph = await page.evaluate(() => window.app.graph.serialize())
  const events = run ? await queue(page) : []
  await page.waitForTimeout(run ? 2500 : 300)
  await fit(page)
  const name = path.basename(file, '.json')
  const seen = await page.evaluate(async () => {
    const { app } = window
    return {
      errors: app.graph._nodes.filter((n) => n.has_errors).map((n) => n.type),
      nodes: app.graph._nodes.map((n) => n.type),
      types: Object.keys(window.LiteGraph.registered_node_types).filter((n) => n.startsWith('WavFlow')),
      dialogs: [...document.querySelectorAll('[role=dialog]')].map((d) => d.textContent.slice(0, 300)),
      api: (await app.graphToPrompt()).output
    }
  })
  fs.writeFileSync(path.join(out, `${name}.json`), JSON.stringify(graph, null, 2) + '\n')
  await page.screenshot({ path: path.join(out, `${name}.png`) })
  return [name, { ...seen, events, console: [...log] }]
}

async function main() {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] })
  try {
    const log = []
    const page = await open(browser, log)
    const reports = []
    for (const file of files) reports.push(await examine(page, log, file))
    console.log(JSON.stringify(Object.fromEntries(reports)))
  } finally {
    await browser.close()
  }
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
