// Package portolan is what a partner writes an adapter with, in Go. An operation is a function that sends requests and returns
// the outcome:
//
//	func Authorize(ctx *portolan.Ctx, request types.Authorization) (types.PaymentOutcome, error) {
//		reply := ctx.Send(portolan.Post("api", "/charges").JSON(charge).Header("idempotency-key", ctx.NextKey()))
//		if !reply.OK {
//			return portolan.Unknown(reply.Why), nil
//		}
//
// The router calls the function once for each answer: Send leaves it where the next answer is not there yet. So nothing is
// waited for in here, and what is recovered from a panic must be panicked again.
//
// Not here: sockets, goroutines that outlive the call, time.Now, randomness. Time is ctx.NowMs, randomness is ctx.Entropy.
package portolan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"runtime"
	"strconv"
	"strings"

	wit "go.bytecodealliance.org/pkg/wit/types"
	"wit_component/portolan_channel_keys"
	"wit_component/portolan_channel_log"
	types "wit_component/portolan_channel_types"
)

// TimeoutMs is how long a request waits for its whole reply, unless it says otherwise.
const TimeoutMs = 30_000

// Fault is why the adapter could not do its work, as an error.
type Fault struct {
	It   types.Fault
	text string
}

func (f Fault) Error() string { return f.text }

// Unsupported: this adapter does not do that.
func Unsupported(text string) error { return Fault{types.MakeFaultUnsupported(text), text} }

// Invalid: a field of the request is not one that the provider takes.
func Invalid(field, why string) error {
	return Fault{types.MakeFaultInvalid(Pair(field, why)), field + ": " + why}
}

// Protocol: the provider said something that is not in its documents.
func Protocol(text string) error { return Fault{types.MakeFaultProtocol(text), text} }

// Misconfigured: the channel's settings or credentials are wrong.
func Misconfigured(text string) error { return Fault{types.MakeFaultMisconfigured(text), text} }

// StaleSession: the session of that name is not open any more.
func StaleSession(name string) error { return Fault{types.MakeFaultStaleSession(name), name} }

// Other is any other fault.
func Other(text string) error { return Fault{types.MakeFaultOther(text), text} }

// Request is built in one expression and sent once. One that was made and never sent is a fault.
type Request struct {
	it   types.Request
	sent bool
}

var made int

func request(endpoint, method, path string, effect types.Effect) *Request {
	made++
	it := types.Request{Endpoint: endpoint, Method: method, Path: path, Effect: effect, TimeoutMs: TimeoutMs}
	return &Request{it: it}
}

// Get is a read: repeating it is free.
func Get(endpoint, path string) *Request { return request(endpoint, "GET", path, types.EffectRead) }

// Post is a write: it is on the router's disk before it leaves.
func Post(endpoint, path string) *Request { return request(endpoint, "POST", path, types.EffectWrite) }

// Header adds one.
func (r *Request) Header(name, value string) *Request {
	r.it.Headers = append(r.it.Headers, types.Header{Name: name, Value: value})
	return r
}

// Bearer is the authorization by a token's handle.
func (r *Request) Bearer(handle string) *Request { return r.Header("authorization", "Bearer "+handle) }

// JSON is a body of encoding/json, without its escapes for HTML.
func (r *Request) JSON(value any) *Request {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(Other(err.Error()))
	}
	r.it.Body = bytes.TrimSuffix(body.Bytes(), []byte("\n"))
	return r.Header("content-type", "application/json")
}

// Form is a body of names and values, in their order.
func (r *Request) Form(fields ...[2]string) *Request {
	pairs := make([]string, 0, len(fields))
	for _, it := range fields {
		pairs = append(pairs, url.QueryEscape(it[0])+"="+url.QueryEscape(it[1]))
	}
	r.it.Body = []byte(strings.Join(pairs, "&"))
	return r.Header("content-type", "application/x-www-form-urlencoded")
}

// Prepares: this write only prepares; the operator's grant decides.
func (r *Request) Prepares() *Request { r.it.Effect = types.EffectPrepare; return r }

// Reads: this POST only looks; the operator's grant decides.
func (r *Request) Reads() *Request { r.it.Effect = types.EffectRead; return r }

// Timeout is another one than TimeoutMs.
func (r *Request) Timeout(ms uint32) *Request { r.it.TimeoutMs = ms; return r }

// Body is what Sign is given.
func (r *Request) Body() []byte { return r.it.Body }

// Reply is what came back. OK: there is a response, whatever its status. Why: why there is none.
type Reply struct {
	OK      bool
	NotSent bool
	Why     string
	AtMs    uint64
	Status  uint16
	Headers []types.Header
	Body    []byte
}

func reply(answer types.Answer) Reply {
	if answer.Reply.IsOk() {
		it := answer.Reply.Ok()
		return Reply{OK: true, AtMs: answer.AtMs, Status: it.Status, Headers: it.Headers, Body: it.Body}
	}
	switch no := answer.Reply.Err(); no.Tag() {
	case types.NoResponseNotSent:
		return Reply{NotSent: true, Why: "not sent: " + no.NotSent(), AtMs: answer.AtMs}
	default:
		return Reply{Why: "no answer: " + no.Unknown(), AtMs: answer.AtMs}
	}
}

// DepthMax is how deeply a reply may be nested: the parser calls itself once for each level, and the stack in here is small.
const DepthMax = 100

// JSON reads the body; what does not fit is a Protocol fault.
func (r Reply) JSON(into any) error {
	wrong := func(why any) error { return Protocol(fmt.Sprintf("status %d with a body that does not fit: %v", r.Status, why)) }
	if err := checked(json.NewDecoder(bytes.NewReader(r.Body))); err != nil {
		return wrong(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(r.Body))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return wrong(err)
	}
	return nil
}

// The body is one value, not nested too deeply, and no object has two names that Go's decoder takes for one: "status" and
// "STATUS", of which the last would count.
func checked(decoder *json.Decoder) error {
	type object struct {
		names  map[string]bool
		isName bool
	}
	decoder.UseNumber()
	var open []*object
	for {
		token, err := decoder.Token()
		if err == io.EOF && len(open) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		var in *object
		if len(open) > 0 {
			in = open[len(open)-1]
		}
		if in != nil && in.names != nil && in.isName && token != json.Delim('}') {
			name := strings.ToLower(token.(string))
			if in.names[name] {
				return fmt.Errorf("two fields are called %q", name)
			}
			in.names[name], in.isName = true, false
			continue
		}
		switch token {
		case json.Delim('{'):
			open = append(open, &object{map[string]bool{}, true})
			if len(open) > DepthMax {
				return errors.New("it is nested too deeply")
			}
			continue
		case json.Delim('['):
			open = append(open, &object{})
			if len(open) > DepthMax {
				return errors.New("it is nested too deeply")
			}
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > 0 {
			open[len(open)-1].isName = true
		}
	}
}

// Ctx is what an operation may know: the contract's context.
type Ctx struct {
	types.Context
	answers    []types.Answer
	sent, used int
	next       *Request
}

// What Send leaves an operation with.
type suspended struct{}

// Send gives the reply. Where the operation is left once, it stays left: nothing that is deferred can send in its place.
func (c *Ctx) Send(r *Request) Reply {
	if c.next == nil && r.sent {
		panic(Other("a request was sent twice"))
	}
	if c.next == nil && c.sent == len(c.answers) {
		c.next = r
	}
	if c.next != nil {
		panic(suspended{})
	}
	r.sent = true
	c.sent++
	return reply(c.answers[c.sent-1])
}

// Secret is the handle of a granted secret or an open session.
func (c *Ctx) Secret(name string) string {
	for _, it := range c.Secrets {
		if it.F0 == name {
			return it.F1
		}
	}
	panic(Misconfigured(fmt.Sprintf("the secret %q is not configured", name)))
}

// NextKey is the next write's idempotency key.
func (c *Ctx) NextKey() string {
	if c.used == len(c.Keys) {
		panic(Other("more writes than keys"))
	}
	c.used++
	return c.Keys[c.used-1]
}

// Setting reads the channel's settings.
func (c *Ctx) Setting(into any) error {
	if err := json.Unmarshal([]byte(c.Settings), into); err != nil {
		return Misconfigured("settings: " + err.Error())
	}
	return nil
}

// Drive runs an operation as far as the answers go. What the router exports calls it; an adapter does not.
func Drive[S, O any](
	context types.Context, answers []types.Answer, send func(types.Request) S, done func(O) S, run func(*Ctx) (O, error),
) (step wit.Result[S, types.Fault]) {
	made = 0
	ctx := &Ctx{Context: context, answers: answers}
	defer func() {
		switch it := recover().(type) {
		case nil:
		case suspended:
			step = wit.Ok[S, types.Fault](send(ctx.next.it))
		case Fault:
			step = wit.Err[S](it.It)
		default:
			step = wit.Err[S](types.MakeFaultOther(clipped(fmt.Sprintf("%v at %s", it, line()))))
		}
	}()
	outcome, err := run(ctx)
	var fault Fault
	switch isFault := errors.As(err, &fault); {
	case ctx.next != nil:
		return wit.Err[S](types.MakeFaultOther("the adapter recovered from what Send left it with"))
	case isFault:
		return wit.Err[S](fault.It)
	case err != nil:
		return wit.Err[S](types.MakeFaultOther(clipped(err.Error())))
	case made != ctx.sent:
		return wit.Err[S](types.MakeFaultOther(fmt.Sprintf("%d requests were made and not sent", made-ctx.sent)))
	}
	return wit.Ok[S, types.Fault](done(outcome))
}

// The adapter's own line that panicked.
func line() string {
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers)])
	for {
		frame, more := frames.Next()
		if strings.HasPrefix(frame.Function, "wit_component/adapter.") {
			return frame.File[strings.LastIndex(frame.File, "/")+1:] + ":" + strconv.Itoa(frame.Line)
		}
		if !more {
			return "a place that is not the adapter's"
		}
	}
}

func clipped(text string) string { return strings.ToValidUTF8(text[:min(len(text), 500)], "") }

// Sign gives the word that stands for a signature over a body; the router puts the signature in its place at the wire.
func Sign(key, algorithm, contentType string, data []byte, encoding portolan_channel_keys.Encoding) string {
	return used(portolan_channel_keys.Sign(key, algorithm, contentType, data, encoding))
}

// Verify says whether a signature is the key's over the data.
func Verify(key, algorithm string, data, signature []byte) bool {
	return used(portolan_channel_keys.Verify(key, algorithm, data, signature))
}

// Decrypt opens what the provider sealed with AES-256-GCM, the tag at the end.
func Decrypt(key string, nonce, associated, sealed []byte) []byte {
	return used(portolan_channel_keys.Decrypt(key, nonce, associated, sealed))
}

func used[T any](result wit.Result[T, portolan_channel_keys.Refusal]) T {
	if result.IsOk() {
		return result.Ok()
	}
	switch refusal := result.Err(); refusal.Tag() {
	case portolan_channel_keys.RefusalNotGranted:
		panic(Misconfigured(refusal.NotGranted()))
	case portolan_channel_keys.RefusalUnsuitable:
		panic(Other(refusal.Unsuitable()))
	default:
		panic(Other("what is signed holds handles"))
	}
}

// Note is a line in the operation's own log.
func Note(line string) { portolan_channel_log.Line(portolan_channel_log.LevelInfo, line) }

// Some is a value that is there.
func Some[T any](value T) wit.Option[T] { return wit.Some(value) }

// None is one that is not.
func None[T any]() wit.Option[T] { return wit.None[T]() }

// Pointer is nil where there is no value: what encoding/json leaves out, or writes as null.
func Pointer[T any](option wit.Option[T]) *T {
	if option.IsNone() {
		return nil
	}
	value := option.Some()
	return &value
}

// Pair is a name with a value.
func Pair(name, value string) wit.Tuple2[string, string] {
	return wit.Tuple2[string, string]{F0: name, F1: value}
}

// Unknown: nobody knows what became of a write.
func Unknown(why string) types.PaymentOutcome {
	return types.MakePaymentOutcomeUnknown(types.Doubt{Why: why})
}

// Accepted: the provider says that it did it, with its own amount: the router compares.
func Accepted(reference string, authorized types.Money, captured bool) types.PaymentOutcome {
	return types.MakePaymentOutcomeAccepted(types.Accepted{Reference: reference, Authorized: authorized, Captured: captured})
}

// Waiting: it is neither done nor refused yet; the router asks again.
func Waiting(reference string, checkAfterMs uint32) types.PaymentOutcome {
	return types.MakePaymentOutcomeWaiting(types.Waiting{Reference: Some(reference), CheckAfterMs: checkAfterMs})
}

// Code is a provider's decline code: the router's reason, what may be tried next.
type Code struct {
	Reason string
	Retry  types.Retry
}

// Decline is one by the provider's code; one that is not in the table nobody may try again.
func Decline(table map[string]Code, code, message string) types.Decline {
	known, isKnown := table[code]
	if !isKnown {
		known = Code{"generic-decline", types.RetryNever}
	}
	if message == "" {
		message = code
	}
	return types.Decline{Retry: known.Retry, Reason: known.Reason, ProviderCode: code, Message: message}
}

// Minor is an amount in minor units, as a number.
func Minor(money types.Money) json.Number { return json.Number(money.Units) }

// FromMajor reads an amount in major units; more decimals than the asset has are refused, unless they are zeros.
func FromMajor(text, asset string, exponent uint8) (types.Money, error) {
	whole, part, _ := strings.Cut(text, ".")
	isDigits := func(text string) bool { return strings.Trim(text, "0123456789") == "" }
	kept := part[:min(len(part), int(exponent))]
	if whole == "" || !isDigits(whole) || !isDigits(part) || strings.Trim(part[len(kept):], "0") != "" {
		return types.Money{}, Protocol(fmt.Sprintf("%q is no amount of %s", text, asset))
	}
	units, _ := new(big.Int).SetString(whole+kept+strings.Repeat("0", int(exponent)-len(kept)), 10)
	return types.Money{Units: units.String(), Exponent: exponent, Asset: asset}, nil
}

// Major is an amount in major units, with as many decimals as the asset has: 10.99.
func Major(money types.Money) string {
	exponent := int(money.Exponent)
	digits := strings.Repeat("0", max(0, exponent+1-len(money.Units))) + money.Units
	if exponent == 0 {
		return digits
	}
	return digits[:len(digits)-exponent] + "." + digits[len(digits)-exponent:]
}
