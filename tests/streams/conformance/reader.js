// Writes to a stream with the published client, then reads it to its end: prints what it got as JSON.
import { DurableStream, stream } from "@durable-streams/client"

const [url, live] = process.argv.slice(2)
const written = await DurableStream.create({ url, contentType: "application/json" })
await written.append(JSON.stringify({ number: 1 }))
const reading = stream({ url, offset: "-1", live: live === "none" ? false : live })
await written.append(JSON.stringify({ number: 2 }))
await written.append(JSON.stringify({ number: 3 }))
await written.close()
const items = []
for await (const item of (await reading).jsonStream()) items.push(item)
console.log(JSON.stringify(items))
