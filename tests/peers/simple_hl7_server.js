// simple_hl7_server.js PORT: prints each message as one JSON line, and acknowledges it the way simple-hl7 does.
const hl7 = require("simple-hl7");

const port = Number(process.argv[2]);
const app = hl7.tcp();
app.use((request, response, next) => {
  console.log(JSON.stringify({ message: request.raw.replace(/^\x0b|\x1c\r$/g, "") }));
  response.end();
});
app.start(port);
console.log(JSON.stringify({ listening: port }));
