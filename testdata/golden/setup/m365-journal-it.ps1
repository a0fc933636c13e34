# Fatto da pecgate per il relay journal di pecgate.comune.example. docs/groupware.md spiega ogni riga.
# Da sapere prima di eseguirlo: every customer of Microsoft 365 connects from the same addresses with the same certificate, so any of them could name your users: make a secret with pecgate password --secret and write it as secret_header: of the relay
# Da sapere prima di eseguirlo: journal: true: reports go to journal@pecgate.comune.example and are believed; Exchange delivers the messages themselves all the same, so mark what it is not to deliver by suffix or domain too, or take a connector in place of reports
# Microsoft 365: da eseguire in PowerShell con il modulo ExchangeOnlineManagement, dopo Connect-ExchangeOnline, come amministratore di Exchange.
# Si ferma al primo errore, invece di proseguire a meta'.
$ErrorActionPreference = 'Stop'
# Il nome di cio' che viene creato e il commento che lo riconosce: il resto non viene toccato.
$Name = 'pecgate journal'
$Marker = 'Made by pecgate setup m365 for relay journal'
# Indirizzi pubblici da cui il gateway si collega a Microsoft 365.
$GatewayAddresses = @('198.51.100.7')

# 1. In uscita: il connettore porta solo cio' che una regola gli affida, su TLS, e solo se il gateway mostra il suo certificato.
$outbound = @{
    ConnectorType = 'OnPremises'
    IsTransportRuleScoped = $true
    UseMXRecord = $false
    SmartHosts = @('pecgate.comune.example')
    TlsSettings = 'DomainValidation'
    TlsDomain = 'pecgate.comune.example'
    CloudServicesMailEnabled = $false
    Comment = $Marker
    Enabled = $true
}
$old = Get-OutboundConnector | Where-Object { $_.Name -eq $Name }
if (-not $old) {
    New-OutboundConnector -Name $Name @outbound
} elseif ($old.Comment -eq $Marker) {
    Set-OutboundConnector -Identity $Name @outbound
} else {
    throw "the outbound connector $Name exists and was not made by this script: rename it"
}

# 2. Ritorno: cio' che arriva dagli indirizzi del gateway e' nostro e deve arrivare su TLS.
$inbound = @{
    ConnectorType = 'OnPremises'
    SenderDomains = @('*')
    SenderIPAddresses = $GatewayAddresses
    RequireTls = $true
    CloudServicesMailEnabled = $false
    Comment = $Marker
    Enabled = $true
}
$old = Get-InboundConnector | Where-Object { $_.Name -eq $Name }
if (-not $old) {
    New-InboundConnector -Name $Name @inbound
} elseif ($old.Comment -eq $Marker) {
    Set-InboundConnector -Identity $Name @inbound
} else {
    throw "the inbound connector $Name exists and was not made by this script: rename it"
}

# 3. Regole di trasporto.

# Crea una regola di trasporto, o reimposta quella con questo nome se e' nostra.
function Set-PecgateRule {
    param([string]$RuleName, [hashtable]$Settings)
    $old = Get-TransportRule | Where-Object { $_.Name -eq $RuleName }
    if (-not $old) {
        New-TransportRule -Name $RuleName -Comments $Marker @Settings
    } elseif ($old.Comments -eq $Marker) {
        Set-TransportRule -Identity $RuleName @Settings
    } else {
        throw "the mail-flow rule $RuleName exists and was not made by this script: rename it"
    }
    $script:Rules += $RuleName
}
# Nomi delle regole attuali; quelle in piu' di un'esecuzione precedente vengono tolte alla fine.
$script:Rules = @()

# Posta dal gateway: nessun disclaimer, nessun antispam. Una busta firmata e modificata non vale nulla.
# E' la prima e l'ultima regola per questi messaggi: nessun'altra aggiunge testo.
$rule = @{
    SenderIpRanges = $GatewayAddresses
    SetSCL = -1
    StopRuleProcessing = $true
    Priority = 0
}
Set-PecgateRule -RuleName 'pecgate journal from the gateway' -Settings $rule

# Cio' che e' contrassegnato esce dal connettore: una regola per contrassegno, solo per chi si e' autenticato.
# L'indirizzo del PC del mittente viene tolto.
$rule = @{
    FromAddressMatchesPatterns = @('^protocollo@pec\.comune\.example$')
    FromScope = 'InOrganization'
    SentToScope = 'NotInOrganization'
    RouteMessageOutboundConnector = $Name
    RemoveHeader = 'X-Originating-IP'
}
Set-PecgateRule -RuleName 'pecgate journal out by from' -Settings $rule
$rule = @{
    SubjectMatchesPatterns = @('\[\s*PEC\s*(\]|:)')
    FromScope = 'InOrganization'
    SentToScope = 'NotInOrganization'
    RouteMessageOutboundConnector = $Name
    RemoveHeader = 'X-Originating-IP'
}
Set-PecgateRule -RuleName 'pecgate journal out by subject' -Settings $rule
$rule = @{
    RecipientAddressMatchesPatterns = @('\.pec$')
    FromScope = 'InOrganization'
    SentToScope = 'NotInOrganization'
    RouteMessageOutboundConnector = $Name
    RemoveHeader = 'X-Originating-IP'
}
Set-PecgateRule -RuleName 'pecgate journal out by suffix' -Settings $rule
$rule = @{
    RecipientAddressMatchesPatterns = @('@pecgate\.comune\.example$')
    FromScope = 'InOrganization'
    SentToScope = 'NotInOrganization'
    RouteMessageOutboundConnector = $Name
    RemoveHeader = 'X-Originating-IP'
}
Set-PecgateRule -RuleName 'pecgate journal out by replies' -Settings $rule

# Regole di un'esecuzione precedente che non servono piu', come quelle di utenti usciti.
Get-TransportRule | Where-Object { $_.Comments -eq $Marker -and $script:Rules -notcontains $_.Name } | ForEach-Object { Remove-TransportRule -Identity $_.Name -Confirm:$false }

# 4. Formato di cio' che esce.

# Domini remoti: niente winmail.dat (TNEF), che rende inutile una PEC, e nulla di automatico verso indirizzi PEC.
$remoteDomains = @{ 'pecgate journal *.pec' = '*.pec'; 'pecgate journal pecgate.comune.example' = 'pecgate.comune.example' }
$remote = @{
    TNEFEnabled = $false
    AllowedOOFType = 'None'
    AutoReplyEnabled = $false
    AutoForwardEnabled = $false
    DeliveryReportEnabled = $false
    NDREnabled = $false
    MeetingForwardNotificationEnabled = $false
}
foreach ($key in $remoteDomains.Keys) {
    $domain = $remoteDomains[$key]
    # I domini remoti non hanno commento: uno gia' creato da altri per lo stesso dominio resta com'e'.
    $other = Get-RemoteDomain | Where-Object { "$($_.DomainName)" -eq $domain -and $_.Name -ne $key }
    if ($other) {
        throw "the remote domain $($other.Name) for $domain was not made by this script: set its TNEFEnabled to false or remove it"
    }
    if (-not (Get-RemoteDomain | Where-Object { $_.Name -eq $key })) {
        New-RemoteDomain -Name $key -DomainName $domain
    }
    Set-RemoteDomain -Identity $key @remote
}

# Gli altri destinatari seguono il dominio remoto Default. Non e' nostro e resta com'e': qui si guarda soltanto.
$default = Get-RemoteDomain -Identity 'Default'
if ($default.TNEFEnabled -ne $false) {
    Write-Warning 'Messages in rich text may leave with winmail.dat, and the gateway refuses them. To send none: Set-RemoteDomain -Identity Default -TNEFEnabled $false'
}

# Nessuna regola affida i rapporti di journal a un connettore: ne hanno uno proprio, per il dominio del loro indirizzo.
$reports = @{
    ConnectorType = 'OnPremises'
    RecipientDomains = @('pecgate.comune.example')
    UseMXRecord = $false
    SmartHosts = @('pecgate.comune.example')
    TlsSettings = 'DomainValidation'
    TlsDomain = 'pecgate.comune.example'
    CloudServicesMailEnabled = $false
    Comment = $Marker
    Enabled = $true
}
$old = Get-OutboundConnector | Where-Object { $_.Name -eq 'pecgate journal journal' }
if (-not $old) {
    New-OutboundConnector -Name 'pecgate journal journal' @reports
} elseif ($old.Comment -eq $Marker) {
    Set-OutboundConnector -Identity 'pecgate journal journal' @reports
} else {
    throw 'the outbound connector pecgate journal journal exists and was not made by this script: rename it'
}

# 5. Rapporti di journal: cio' che esce o entra viene riferito al gateway, che invia come PEC cio' che e' contrassegnato.
$journal = 'journal@pecgate.comune.example'
# L'indirizzo come contatto nascosto a cui non scrive chi non e' autenticato: il gateway crede a cio' che vi arriva.
$contact = Get-MailContact | Where-Object { $_.Name -eq 'pecgate journal journal' }
if (-not $contact) {
    New-MailContact -Name 'pecgate journal journal' -ExternalEmailAddress $journal
} elseif ("$($contact.ExternalEmailAddress)" -ne "SMTP:$journal") {
    throw 'the contact pecgate journal journal exists with another address: rename it'
}
Set-MailContact -Identity 'pecgate journal journal' -HiddenFromAddressListsEnabled $true -RequireSenderAuthenticationEnabled $true
# I rapporti non consegnabili hanno bisogno di una vostra casella. Vale per tutta l'organizzazione: qui si guarda soltanto.
$transport = Get-TransportConfig
if ("$($transport.JournalingReportNdrTo)" -notmatch '@.') {
    Write-Warning 'Nobody gets journal reports that cannot be delivered: Set-TransportConfig -JournalingReportNdrTo MAILBOX'
}
# Le regole di journal non hanno commento: una con questo nome e altro indirizzo resta com'e'.
$old = Get-JournalRule | Where-Object { $_.Name -eq $Name }
if (-not $old) {
    New-JournalRule -Name $Name -JournalEmailAddress $journal -Scope External -Enabled $true
} elseif ("$($old.JournalEmailAddress)" -eq $journal) {
    Set-JournalRule -Identity $Name -JournalEmailAddress $journal -Scope External
} else {
    throw "the journal rule $Name exists with another address: rename it"
}

Write-Host 'Done. Test it: send a message to yourself through the gateway.'
