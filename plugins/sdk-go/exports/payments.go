// Package export_portolan_channel_payments is what the router calls, in terms of what the adapter's package offers. `portolan plugin build` puts it here.
package export_portolan_channel_payments

import (
	wit "go.bytecodealliance.org/pkg/wit/types"
	"wit_component/adapter"
	"wit_component/portolan"
	payments "wit_component/portolan_channel_payments"
	types "wit_component/portolan_channel_types"
)

// Authorize takes a payment.
func Authorize(context types.Context, request types.Authorization, answers []types.Answer) wit.Result[types.PaymentStep, types.Fault] {
	return portolan.Drive(context, answers, types.MakePaymentStepSend, types.MakePaymentStepDone, func(ctx *portolan.Ctx) (types.PaymentOutcome, error) {
		return adapter.Authorize(ctx, request)
	})
}

// Status asks what became of it.
func Status(context types.Context, of types.Target, answers []types.Answer) wit.Result[payments.StatusStep, types.Fault] {
	return portolan.Drive(context, answers, payments.MakeStatusStepSend, payments.MakeStatusStepDone, func(ctx *portolan.Ctx) (payments.Finding, error) {
		return adapter.PaymentStatus(ctx, of)
	})
}
