// Package adapter is NAME: start here. `PROVIDER` is a made-up card API; put your provider's paths, fields and codes in its place.
package adapter

import (
	"encoding/json"
	"fmt"

	"wit_component/portolan"
	describe "wit_component/portolan_channel_adapter"
	payments "wit_component/portolan_channel_payments"
	types "wit_component/portolan_channel_types"
)

const api = "api"

// Your provider's codes: the router's reason, what may be tried next. A code that is not here is never tried again.
var declines = map[string]portolan.Code{
	"51": {Reason: "insufficient-funds", Retry: types.RetryLater},
	"54": {Reason: "expired-card", Retry: types.RetryAfterCorrection},
	"91": {Reason: "issuer-unavailable", Retry: types.RetryOtherChannel},
}

func at(place describe.Place) []describe.PlaceAsk {
	return []describe.PlaceAsk{{Endpoint: api, Places: []describe.Place{place}}}
}

func capability(of string) describe.Capability {
	return describe.Capability{Of: of, IdempotentForS: portolan.Some[uint32](86_400), FoundByKey: true, Partial: true, Multiple: true}
}

// Describe says who this is, what it can, and what it asks for.
func Describe() describe.Manifest {
	return describe.Manifest{
		Name:    "NAME",
		Version: "0.1.0",
		Summary: "PROVIDER, cards",
		Methods: []string{"card"},
		Capabilities: []describe.Capability{
			capability("payments"),
			// can: captures
			capability("captures"),
			// end
			// can: refunds
			capability("refunds"),
			// end
		},
		Endpoints: []describe.EndpointAsk{{
			Name: api, Purpose: "charges", LiveUrl: "https://api.provider.example", TestUrl: "https://test.provider.example",
		}},
		Secrets: []describe.SecretAsk{{
			Name: "api_key", Purpose: "every request",
			At: at(describe.MakePlaceHeader(portolan.Pair("authorization", "Bearer "))),
		}},
		CardNumber:       at(describe.MakePlaceJsonPointer("/card/number")),
		CardSecurityCode: at(describe.MakePlaceJsonPointer("/card/cvc")),
		KeyFormat:        "uuid",
		SettingsSchema:   `{"type":"object","additionalProperties":false}`,
	}
}

type card struct {
	Number string  `json:"number"`
	Code   *string `json:"cvc"`
	Month  uint8   `json:"month"`
	Year   uint16  `json:"year"`
}

type charging struct {
	Amount   json.Number `json:"amount"`
	Currency string      `json:"currency"`
	Capture  bool        `json:"capture"`
	Card     card        `json:"card"`
}

// What the provider says of a charge or a refund.
type charge struct {
	ID       string  `json:"id"`
	Status   string  `json:"status"`
	Amount   *uint64 `json:"amount"`
	Currency string  `json:"currency"`
	Code     string  `json:"code"`
	Message  string  `json:"message"`
}

// What was moved, in the provider's own words: the router compares.
func (c charge) money(like types.Money) (types.Money, error) {
	if c.Amount == nil || c.Currency == "" || c.ID == "" {
		return types.Money{}, portolan.Protocol("the reply lacks id, amount or currency")
	}
	return types.Money{Units: fmt.Sprint(*c.Amount), Exponent: like.Exponent, Asset: c.Currency}, nil
}

// Authorize takes the money, or says why not.
func Authorize(ctx *portolan.Ctx, request types.Authorization) (types.PaymentOutcome, error) {
	if request.Instrument.Tag() != types.InstrumentCard {
		return types.PaymentOutcome{}, portolan.Unsupported("only cards")
	}
	it := request.Instrument.Card()
	made, doubt, err := write(ctx, "/charges", charging{
		Amount: portolan.Minor(request.Amount), Currency: request.Amount.Asset, Capture: request.Capture,
		Card: card{it.Number, portolan.Pointer(it.SecurityCode), it.ExpiryMonth, it.ExpiryYear},
	})
	if err != nil || doubt != "" {
		return portolan.Unknown(doubt), err
	}
	switch made.Status {
	case "authorized", "captured":
		amount, err := made.money(request.Amount)
		return portolan.Accepted(made.ID, amount, made.Status == "captured"), err
	case "declined":
		return types.MakePaymentOutcomeDeclined(portolan.Decline(declines, made.Code, made.Message)), nil
	default:
		return portolan.Unknown(fmt.Sprintf("status %q is not in the documents", made.Status)), nil
	}
}

// PaymentStatus says what became of it: the router asks whenever it does not know.
func PaymentStatus(ctx *portolan.Ctx, of types.Target) (payments.Finding, error) {
	path := ""
	switch {
	case of.Reference.IsSome():
		path = "/charges/" + of.Reference.Some()
	case len(of.Keys) > 0:
		path = "/charges?key=" + of.Keys[0]
	default:
		return payments.Finding{}, portolan.Unsupported("a charge is found by its id or its key")
	}
	reply := ctx.Send(portolan.Get(api, path).Bearer(ctx.Secret("api_key")))
	switch {
	case !reply.OK:
		return payments.MakeFindingUnknown(reply.Why), nil
	case reply.Status == 404:
		return payments.MakeFindingNotFound(), nil
	case reply.Status != 200:
		return payments.MakeFindingUnknown(fmt.Sprintf("status %d", reply.Status)), nil
	}
	var found charge
	if err := reply.JSON(&found); err != nil {
		return payments.Finding{}, err
	}
	return standing(found, of)
}

var states = map[string]payments.State{
	"authorized": payments.StateAuthorized,
	"captured":   payments.StateCaptured,
	"voided":     payments.StateCanceled,
	"declined":   payments.StateFailed,
}

func standing(found charge, of types.Target) (payments.Finding, error) {
	if of.Amount.IsNone() {
		return payments.Finding{}, portolan.Other("the target has no amount")
	}
	amount, err := found.money(of.Amount.Some())
	if err != nil {
		return payments.Finding{}, err
	}
	state, isKnown := states[found.Status]
	if !isKnown {
		return payments.Finding{}, portolan.Protocol(fmt.Sprintf("status %q is not in the documents", found.Status))
	}
	it := payments.Standing{
		Reference: found.ID, State: state, Authorized: portolan.Some(amount), CheckAfterMs: 5_000,
	}
	if state == payments.StateCaptured {
		it.Captured = portolan.Some(amount)
	}
	if state == payments.StateFailed {
		it.Declined = portolan.Some(portolan.Decline(declines, found.Code, found.Message))
	}
	return payments.MakeFindingStanding(it), nil
}

// can: captures
type capturing struct {
	Amount json.Number `json:"amount"`
	Final  bool        `json:"final"`
}

// Capture takes what was authorized, or some of it.
func Capture(ctx *portolan.Ctx, of types.Target, amount types.Money, isFinal bool) (types.FollowUpOutcome, error) {
	return follow(ctx, of, "captures", capturing{portolan.Minor(amount), isFinal}, amount)
}

// Cancel lets it go.
func Cancel(ctx *portolan.Ctx, of types.Target) (types.FollowUpOutcome, error) {
	if of.Amount.IsNone() {
		return types.FollowUpOutcome{}, portolan.Other("the target has no amount")
	}
	return follow(ctx, of, "void", struct{}{}, of.Amount.Some())
}

// CaptureStatus says what became of that one capture or cancel.
func CaptureStatus(ctx *portolan.Ctx, of types.Target) (types.FollowUpOutcome, error) {
	if of.Kind == "capture" {
		return found(ctx, of, "captures")
	}
	return found(ctx, of, "voids")
}

// end
// can: refunds
type refunding struct {
	Amount json.Number `json:"amount"`
}

// Refund gives some of it back.
func Refund(ctx *portolan.Ctx, of types.Target, amount types.Money, reason *string) (types.FollowUpOutcome, error) {
	return follow(ctx, of, "refunds", refunding{portolan.Minor(amount)}, amount)
}

// RefundStatus says what became of it.
func RefundStatus(ctx *portolan.Ctx, of types.Target) (types.FollowUpOutcome, error) {
	return found(ctx, of, "refunds")
}

// end
// can: captures refunds
// Something that follows a charge.
func follow(ctx *portolan.Ctx, of types.Target, what string, body any, asked types.Money) (types.FollowUpOutcome, error) {
	charged := of.ParentReference
	if charged.IsNone() {
		charged = of.Reference
	}
	if charged.IsNone() {
		return types.FollowUpOutcome{}, portolan.Unsupported("the charge has no id yet")
	}
	made, doubt, err := write(ctx, "/charges/"+charged.Some()+"/"+what, body)
	if err != nil || doubt != "" {
		return types.MakeFollowUpOutcomeUnknown(doubt), err
	}
	return followed(made, asked)
}

// What became of it.
func found(ctx *portolan.Ctx, of types.Target, list string) (types.FollowUpOutcome, error) {
	if len(of.Keys) == 0 {
		return types.FollowUpOutcome{}, portolan.Unsupported("it is found by its key")
	}
	reply := ctx.Send(portolan.Get(api, "/"+list+"?key="+of.Keys[0]).Bearer(ctx.Secret("api_key")))
	switch {
	case !reply.OK:
		return types.MakeFollowUpOutcomeUnknown(reply.Why), nil
	case reply.Status == 404:
		return types.MakeFollowUpOutcomeNotFound(), nil
	case reply.Status != 200:
		return types.MakeFollowUpOutcomeUnknown(fmt.Sprintf("status %d", reply.Status)), nil
	}
	var it charge
	if err := reply.JSON(&it); err != nil {
		return types.FollowUpOutcome{}, err
	}
	if of.Amount.IsNone() {
		return types.FollowUpOutcome{}, portolan.Other("the target has no amount")
	}
	return followed(it, of.Amount.Some())
}

func followed(made charge, asked types.Money) (types.FollowUpOutcome, error) {
	switch made.Status {
	case "captured", "voided", "refunded":
		amount, err := made.money(asked)
		return types.MakeFollowUpOutcomeDone(types.Done{Reference: made.ID, Amount: amount}), err
	case "declined":
		return types.MakeFollowUpOutcomeDeclined(portolan.Decline(declines, made.Code, made.Message)), nil
	default:
		return types.MakeFollowUpOutcomeUnknown(fmt.Sprintf("status %q is not in the documents", made.Status)), nil
	}
}

// end

// One write with its key: what the provider says, or why nobody knows what it did.
func write(ctx *portolan.Ctx, path string, body any) (made charge, doubt string, err error) {
	request := portolan.Post(api, path).JSON(body).Bearer(ctx.Secret("api_key")).Header("idempotency-key", ctx.NextKey())
	reply := ctx.Send(request)
	switch {
	case !reply.OK:
		return made, reply.Why, nil
	case reply.Status == 200 || reply.Status == 402:
		return made, "", reply.JSON(&made)
	case reply.Status == 400:
		if err := reply.JSON(&made); err != nil {
			return made, "", err
		}
		return made, "", portolan.Invalid("request", made.Message)
	case reply.Status == 401:
		return made, "", portolan.Misconfigured("the API key is refused")
	default:
		return made, fmt.Sprintf("status %d", reply.Status), nil
	}
}
